"""The programs that run a model on a device: what they need there, how they are called, what their output says."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from converters.checksum import sha256_file
from edge_vit.devices import packages, runner_build
from edge_vit.devices.machine import PID_MARK, MachineError, quote

# LiteRT's own published builds. Its documentation names only the folder "latest"; a release's own comes first.
LATEST = "latest"
LITERT_BINARIES = "https://storage.googleapis.com/litert/binaries/{version}/android_arm64/{name}"
EXECUTOR_HELP = (
    "ExecuTorch publishes no executor_runner for phones; build it with the NDK (cmake --preset android-arm64-v8a, "
    "target executor_runner) and give it with --runner"
)
# litert_runner.c's exit codes.
OUR_FAILURES = {
    2: "was called with flags that it does not know",
    3: "could not load LiteRT's library",
    4: "could not load the model",
    5: "could not read its input or write its output",
    6: "failed at an inference",
}
SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long one call of a runner warms up and measures."""

    warmup_runs: int
    warmup_s: float
    max_warmup_s: float
    runs: int
    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a runner on a machine: where things lie there and how it should run."""

    folder: str
    model: str
    inputs: tuple[str, ...]
    output: str | None
    threads: int
    schedule: Schedule


@dataclass(slots=True, kw_only=True)
class Output:
    """What a runner told, all times in microseconds.

    `samples_us` is empty for a runner that only prints `summary`: count, min, max, avg, std, p5, median, p95, as far
    as it does. `untimed` counts the inferences of a runner that calls its machine emulated and so tells no times.
    """

    samples_us: list[float] = field(default_factory=list)
    warmup_us: list[float] = field(default_factory=list)
    load_us: float | None = None
    compile_us: float | None = None
    first_us: float | None = None
    is_steady: bool | None = None
    peak_kb: float | None = None
    is_complete: bool = False
    summary: dict[str, float] = field(default_factory=dict)
    untimed: int | None = None


class Runner(Protocol):
    """A program that runs a model."""

    name: str
    version: str
    sha256: str

    def files(self) -> dict[str, Path]:
        """Return the files that it needs, by the name they get on the device."""
        ...

    def script(self, call: Call, mask: int | None) -> str:
        """Return the shell script that runs it."""
        ...

    def parse(self, lines: Sequence[str]) -> Output:
        """Make sense of its output, also of one that was cut short."""
        ...


class LiteRTRunner:
    """Our own runner over LiteRT's C interface, for Linux with glibc; it returns every sample and the outputs."""

    name = "litert_runner"

    def __init__(self, program: Path, library: Path, version: str) -> None:
        self.program, self.library, self.version = program, library, version
        self.sha256 = sha256_file(program)

    def files(self) -> dict[str, Path]:
        return {"litert_runner": self.program, "libLiteRt.so": self.library}

    def script(self, call: Call, mask: int | None) -> str:
        s = call.schedule
        words = ["./litert_runner", "--library", "./libLiteRt.so", "--model", call.model]
        for path in call.inputs:
            words += ["--input", path]
        if call.output:
            words += ["--output", call.output]
        words += ["--threads", str(call.threads), "--warmup-runs", str(s.warmup_runs)]
        words += ["--warmup-seconds", f"{s.warmup_s:g}", "--max-warmup-seconds", f"{s.max_warmup_s:g}"]
        words += ["--runs", str(s.runs), "--seconds", f"{s.min_s:g}", "--max-seconds", f"{s.max_s:g}"]
        return _script(call.folder, words, mask)

    def parse(self, lines: Sequence[str]) -> Output:
        output = Output()
        for line in lines:
            if not line.startswith('{"event"'):
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line on which the connection broke
            match record["event"]:
                case "ready":
                    output.load_us, output.compile_us = record["load_us"], record["compile_us"]
                case "first":
                    output.first_us = record["us"]
                case "warmup":
                    output.warmup_us += record["us"]
                case "samples":
                    output.samples_us += record["us"]
                case "end":
                    output.is_steady, output.peak_kb, output.is_complete = record["steady"], record["peak_kb"], True
        return output


class BenchmarkModel:
    """LiteRT's published benchmark_model, for Android. It keeps no samples, only its own summary."""

    name = "benchmark_model"

    def __init__(self, program: Path, version: str) -> None:
        self.program, self.version = program, version
        self.sha256 = sha256_file(program)

    def files(self) -> dict[str, Path]:
        return {"benchmark_model": self.program}

    def script(self, call: Call, mask: int | None) -> str:
        s = call.schedule
        words = ["./benchmark_model", f"--graph={call.model}", f"--num_threads={call.threads}"]
        words += [f"--num_runs={s.runs}", f"--min_secs={s.min_s:g}", f"--max_secs={s.max_s:g}"]
        words += [f"--warmup_runs={s.warmup_runs}", f"--warmup_min_secs={s.warmup_s:g}"]
        # Its memory monitor is a thread of its own that disturbs the figures; the summary's memory line comes without.
        words += ["--run_delay=-1", "--run_frequency=-1", "--report_peak_memory_footprint=false"]
        words += ["--enable_op_profiling=false", "--verbose=false"]
        return _script(call.folder, words, mask)

    def parse(self, lines: Sequence[str]) -> Output:
        output = Output()
        for line in lines:
            if found := re.search(r"\bcount=(\d+) .*?avg=\S+", line):
                # The warm-up's statistics come first in the same form; the last line of that form counts.
                output.summary = {key: float(value) for key, value in re.findall(r"(\w+)=([\d.e+-]+)", line)}
                assert found
            if found := re.search(r"Init: (\S+), First inference: (\S+), Warmup \(avg\): (\S+), Inference", line):
                output.compile_us, output.first_us = float(found[1]), float(found[2])
                output.warmup_us = [float(found[3])]
                output.is_complete = True
            if found := re.search(r"emory footprint.*\(MB\).*overall=(\S+)", line):
                output.peak_kb = float(found[1]) * 1024
        if not output.is_complete:
            output.summary = {}
        return output


class ExecutorRunner:
    """ExecuTorch's executor_runner. Its first iterations are the warm-up; a phone's log is where it prints."""

    name = "executor_runner"

    def __init__(self, program: Path, version: str, is_android: bool) -> None:
        self.program, self.version, self.is_android = program, version, is_android
        self.sha256 = sha256_file(program)
        self.warmup_runs = 0

    def files(self) -> dict[str, Path]:
        return {"executor_runner": self.program}

    def script(self, call: Call, mask: int | None) -> str:
        self.warmup_runs = call.schedule.warmup_runs
        words = ["./executor_runner", f"--model_path={call.model}"]
        if call.inputs:
            words += [f"--inputs={','.join(call.inputs)}"]
        if call.output:
            words += [f"--output_file={call.output}"]
        words += [f"--num_executions={self.warmup_runs + call.schedule.runs}", f"--cpu_threads={call.threads}"]
        words += ["--print_output=none"]
        run = _script(call.folder, words, mask)
        if not self.is_android:
            return run
        # A shell of its own that becomes the runner and says its process id: this is what a broken-off run must end.
        own = quote(f'echo "{PID_MARK}$$"; {run}')
        # The log is a ring of a few hundred kilobytes: read at the end, a long run would have lost its beginning.
        log = f"{quote(call.folder)}/executor_runner.log"
        follow = f"logcat -c; logcat -s ExecuTorch >{log} 2>/dev/null & log=$!"
        return f"{follow}; sh -c {own}; code=$?; sleep 1; kill $log 2>/dev/null; cat {log}; exit $code"

    def parse(self, lines: Sequence[str]) -> Output:
        times: list[float] = []
        output = Output()
        for line in lines:
            if found := re.search(r"Model loaded in ([\d.]+) ms", line):
                output.load_us = float(found[1]) * 1000
            if found := re.search(r"Iteration \d+ of \d+: ([\d.]+) ms", line):
                times.append(float(found[1]) * 1000)
            if "Model executed successfully" in line:
                output.is_complete = True
        output.first_us = times[0] if times else None
        output.warmup_us, output.samples_us = times[: self.warmup_runs], times[self.warmup_runs :]
        return output


def explain_failure(runner: Runner, code: int, lines: Sequence[str], model: str, where: str) -> MachineError:
    """Return the error for a runner that ended with `code`."""
    noise = ("{", "INFO", "WARNING", "VERBOSE", "qemu:", PID_MARK)
    said = [line for line in lines if line.strip() and not line.startswith(noise)]
    detail = f": {said[-1].strip()}" if said else ""
    if code > 128 and code - 128 in SIGNALS:
        signal = SIGNALS[code - 128]
        return MachineError("runner failed", f"{runner.name} crashed ({signal}) on {model} on {where}{detail}")
    if code in (126, 127):
        return MachineError("runner failed", f"{runner.name} does not start on {where} (exit code {code}){detail}")
    why = OUR_FAILURES.get(code, "failed") if runner.name == LiteRTRunner.name else "failed"
    return MachineError("runner failed", f"{runner.name} {why} on {where} (exit code {code}, {model}){detail}")


def _script(folder: str, words: Sequence[str], mask: int | None) -> str:
    """Return the script that runs a command in a folder, pinned to cores; by `exec`, under the script's process id."""
    pin = ["taskset", f"{mask:x}"] if mask is not None else []
    return f"cd {quote(folder)} && exec {' '.join(quote(word) for word in [*pin, *words])} 2>&1"


def choose_runner(
    model: Path, *, is_android: bool, is_local: bool, given: Path | None, cache_dir: Path, version: str | None = None
) -> Runner:
    """Return the runner for a model on a kind of machine.

    Args:
        model: The artefact; its ending decides.
        is_android: Whether the machine has Android's C library, for which ours is not built.
        is_local: Whether it is this machine.
        given: The user's own program, taken for the usual one of that artefact.
        cache_dir: Where downloads and builds are kept.
        version: LiteRT release; the installed one's by default.

    Raises:
        ValueError: If there is no runner, saying how to get one.
    """
    if given and not given.is_file():
        raise ValueError(f"no runner {given}")
    if model.suffix == ".pte":
        if not given:
            raise ValueError(EXECUTOR_HELP)
        return ExecutorRunner(given, "given", is_android)
    if model.suffix != ".tflite":
        raise ValueError(f"{model.name} is neither a .tflite nor a .pte; bench_arm runs these two")
    release = version or runner_build.litert_version()
    if given:
        if given.name.startswith(LiteRTRunner.name):
            library = runner_build.local_library() if is_local else runner_build.aarch64_library(cache_dir, release)
            return LiteRTRunner(given, library, release)
        return BenchmarkModel(given, "given")
    if is_android:
        program = download_benchmark_model(cache_dir, release)
        told = program.with_name("release")
        return BenchmarkModel(program, told.read_text().strip() if told.exists() else release)
    if is_local:
        return LiteRTRunner(runner_build.local_runner(cache_dir), runner_build.local_library(), release)
    return LiteRTRunner(
        runner_build.aarch64_runner(cache_dir), runner_build.aarch64_library(cache_dir, release), release
    )


def download_benchmark_model(cache_dir: Path, version: str, base: str = LITERT_BINARIES) -> Path:
    """Return LiteRT's benchmark_model for Android, downloaded once; its checksum and its release lie beside it.

    The release's own is taken where there is one, else the latest.

    Raises:
        ValueError: If it cannot be had, or the kept file no longer has its recorded checksum.
    """

    def fill(part: Path) -> None:
        try:
            data, release = _fetch(base.format(version=version, name="benchmark_model")), version
        except OSError as first:
            url = base.format(version=LATEST, name="benchmark_model")
            try:
                data, release = _fetch(url), LATEST
            except OSError as e:  # urllib's are such
                raise ValueError(
                    f"cannot download benchmark_model {version} from {url} ({getattr(first, 'reason', first)}); "
                    "fetch or build it elsewhere and give it with --runner PATH"
                ) from e
        (part / "release").write_text(release + "\n")
        program = part / "benchmark_model"
        program.write_bytes(data)
        program.chmod(0o755)
        (part / "sha256").write_text(sha256_file(program) + "\n")

    folder = packages.once(cache_dir / f"benchmark_model-{version}-android-arm64", fill)
    program = folder / "benchmark_model"
    if sha256_file(program) != (folder / "sha256").read_text().strip():
        raise ValueError(f"{program} is not what was downloaded (SHA-256 differs); delete {folder}")
    return program


def _fetch(url: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(url, timeout=60) as answer:
        data: bytes = answer.read()
    return data
