"""Measure a model on a phone through the demo app: no runner binary is needed, the app carries the runtime.

The app's BenchActivity is started over adb with what to do; it writes a record, which is read back. Times are the
app's own, of the inference call alone. An app cannot be pinned to cores.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from converters.checksum import sha256_file
from edge_vit.devices.machine import MachineError, quote
from edge_vit.devices.runners import Call, Output

PACKAGE = "edgevit.demo"
FILES = f"/sdcard/Android/data/{PACKAGE}/files"
RESULT = "bench_arm.json"
RESULT_MARK = "@result "
POLL_S = 1
UNPINNED = "an app cannot be pinned to cores; leave --cores out with --via-app"
# What the script ends with, see `explain`.
NOT_INSTALLED, NOT_STARTED, NO_RESULT, REFUSED, NO_FOLDER = 41, 42, 43, 44, 45
FOLDER_WAIT_S = 20
FAILURES = {
    NOT_INSTALLED: f"the demo app ({PACKAGE}) is not installed; build it, then adb install it or give --app APK",
    NOT_STARTED: "the demo app does not start; is the screen unlocked, and the app of this version?",
    NO_RESULT: "the demo app wrote no result in time; see adb logcat -s EdgeVitBench",
    REFUSED: "the demo app cannot be installed",
    NO_FOLDER: f"the demo app did not make its folder {FILES}; is it of this version?",
}


class ViaAppRunner:
    """The demo app as a runner of bench_arm."""

    name = "android_demo"

    def __init__(self, model: Path, manifest: Path, app: Path | None = None, version: str = "given") -> None:
        """Take a model with its manifest, and an APK to install first.

        Raises:
            ValueError: If one of them is missing.
        """
        for path in (model, manifest, *([app] if app else [])):
            if not path.is_file():
                raise ValueError(f"no file {path}; measuring via the app takes a model with its manifest beside it")
        self.model, self.manifest, self.app, self.version = model, manifest, app, version
        self.sha256 = sha256_file(app) if app else ""

    def files(self) -> dict[str, Path]:
        """Return what goes to the phone besides the model."""
        return {self.manifest.name: self.manifest} | ({"edge_vit_demo.apk": self.app} if self.app else {})

    def script(self, call: Call, mask: int | None) -> str:
        """Return the shell script that measures once and prints the app's record.

        Raises:
            MachineError: If cores were asked for.
        """
        if mask is not None:
            raise MachineError("device error", UNPINNED)
        name, schedule = Path(call.model).name, call.schedule
        wait = round(60 + schedule.max_warmup_s + schedule.max_s)
        models, result = f"{FILES}/models", f"{FILES}/bench/{RESULT}"
        extras = [("es", "model", name), ("es", "result", RESULT), ("ei", "threads", call.threads)]
        extras += [("ei", "warmup_runs", schedule.warmup_runs), ("ei", "runs", schedule.runs)]
        extras += [("ef", "warmup_seconds", schedule.warmup_s), ("ef", "max_warmup_seconds", schedule.max_warmup_s)]
        extras += [("ef", "seconds", schedule.min_s), ("ef", "max_seconds", schedule.max_s)]
        words = " ".join(f"--{kind} {key} {quote(str(value))}" for kind, key, value in extras)
        clean = f"rm -f {models}/{quote(name)} {models}/{quote(self.manifest.name)}"
        # The app is a process of its own, which outlives this script: whoever ends the script ends the app.
        end = f"am force-stop {PACKAGE}"
        steps = [f"trap {quote(f'{clean}; {end}; exit 143')} TERM", f"cd {quote(call.folder)} || exit 1"]
        if self.app:
            steps.append(f'said=$(pm install -r edge_vit_demo.apk 2>&1) || {{ echo "$said"; exit {REFUSED}; }}')
        start = f"am start -W -S -n {PACKAGE}/.BenchActivity"
        steps += [
            f"pm path {PACKAGE} >/dev/null || exit {NOT_INSTALLED}",
            # On a fresh install the folder is the app's to make: in one that the shell made it could not write.
            f"[ -d {models} ] && [ -d {FILES}/bench ] || {start} --ez prepare true >/dev/null || exit {NOT_STARTED}",
            f"n=0; while [ ! -d {models} ] && [ $n -lt {FOLDER_WAIT_S} ]; do sleep {POLL_S}; n=$((n + 1)); done",
            f"[ -d {models} ] || exit {NO_FOLDER}",
            f"rm -f {result}",
            f"cp {quote(name)} {quote(self.manifest.name)} {models}/ || exit 1",
            f"{start} {words} >/dev/null || {{ {clean}; exit {NOT_STARTED}; }}",
            f"n=0; while [ ! -f {result} ] && [ $n -lt {wait} ]; do sleep {POLL_S}; n=$((n + 1)); done",
            clean,
            f"[ -f {result} ] || {{ {end}; exit {NO_RESULT}; }}",
            f'echo "{RESULT_MARK}$(cat {result})"; rm -f {result}',
        ]
        return "; ".join(steps)

    def parse(self, lines: Sequence[str]) -> Output:
        """Make sense of the app's record.

        Raises:
            MachineError: If the app says that it could not measure.
        """
        said = [line.removeprefix(RESULT_MARK) for line in lines if line.startswith(RESULT_MARK)]
        if not said:
            return Output()
        try:
            record = json.loads(said[-1])
        except json.JSONDecodeError:
            return Output()  # the line on which the connection broke
        if "error" in record:
            raise MachineError("runner failed", f"the demo app could not measure {self.model.name}: {record['error']}")
        (only,) = record["rounds"]
        return Output(
            samples_us=only.get("samples_us", []),
            warmup_us=only.get("warmup_us", []),
            load_us=only.get("load_us"),
            first_us=only.get("first_us"),
            is_steady=only.get("is_steady"),
            peak_kb=record.get("peak_kb"),
            is_complete=record["is_complete"],
            untimed=only["num_samples"] if record["emulated"] else None,
        )


def explain(code: int, lines: Sequence[str] = ()) -> str | None:
    """Return what an exit code of the script means, with the last line that it said; None for one not of ours."""
    why = FAILURES.get(code)
    said = [line.strip() for line in lines if line.strip() and not line.startswith(RESULT_MARK)]
    return f"{why} ({said[-1]})" if why and said else why
