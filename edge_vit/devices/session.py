"""Measure models on one machine: push, warm up, measure, clean up; and keep what there is when it breaks."""

import contextlib
import dataclasses
import datetime
import hashlib
import math
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.checksum import sha256_file
from converters.manifest import manifest_path
from edge_vit.devices import host_run, tflite_file
from edge_vit.devices.device_info import DeviceInfo, core_mask, probe, read_state
from edge_vit.devices.machine import Machine, MachineError, quote
from edge_vit.devices.records import Record
from edge_vit.devices.runners import Call, ExecutorRunner, Output, Runner, Schedule, choose_runner, explain_failure
from edge_vit.devices.via_app import UNPINNED, ViaAppRunner, explain

Progress = Callable[[str], None]
CHUNK_S = 30  # of a sustained run by a runner that keeps no samples
NO_OUTPUT = ("benchmark_model", "android_demo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure; the same for every machine and model."""

    cores: str = "all"
    threads: int = 1
    runs: int = 50
    min_s: float = 5.0
    max_s: float = 300.0
    warmup_runs: int = 10
    warmup_s: float = 1.0
    max_warmup_s: float = 30.0
    repeat: int = 1
    cool_down_s: float = 60.0
    rounds: int = 5
    sustained_min: float = 0.0
    max_drift: float = 0.05
    emulated_runs: int = 2
    runner: Path | None = None
    litert_version: str | None = None
    via_app: bool = False
    app: Path | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "runs", "repeat", "rounds", "emulated_runs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("min_s", "max_s", "warmup_s", "max_warmup_s", "cool_down_s", "sustained_min", "warmup_runs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.max_drift <= 0:
            raise ValueError(f"max_drift is {self.max_drift}; it must be positive")
        if self.app and not self.via_app:
            raise ValueError("app is given without via_app; it is the app to measure through")
        if self.via_app and self.cores != "all":
            raise ValueError(f"--cores {self.cores}: {UNPINNED}")
        if self.via_app and (self.runner or self.litert_version):
            raise ValueError("the app brings its own runtime; leave --runner and --litert-version out with --via-app")

    def schedule(self, emulated: bool = False) -> Schedule:
        """Return what one call of a runner is to do.

        On an emulated machine times mean nothing: just enough inferences to see that the path works and what comes out.
        """
        if emulated:
            return Schedule(warmup_runs=0, warmup_s=0, max_warmup_s=0, runs=self.emulated_runs, min_s=0, max_s=0)
        return Schedule(
            warmup_runs=self.warmup_runs,
            warmup_s=self.warmup_s,
            max_warmup_s=max(self.max_warmup_s, self.warmup_s),
            runs=self.runs,
            min_s=self.min_s,
            max_s=max(self.max_s, self.min_s),
        )


class Session:
    """One machine, some models. `measure` is the whole of it."""

    def __init__(
        self, machine: Machine, models: Sequence[Path], settings: Settings, cache_dir: Path, progress: Progress
    ) -> None:
        self.machine, self.models, self.settings, self.cache_dir = machine, models, settings, cache_dir
        self.progress = progress
        self.folder = f"{machine.temporary}/edge_vit-{secrets.token_hex(4)}"
        self.is_local = machine.name == "local"
        self.runners: dict[Path, Runner] = {}
        self.inputs: dict[Path, list[bytes]] = {}

    def measure(self) -> list[Record]:
        """Measure every model; a failure is marked in the records it spoiled, with what was gathered until then."""
        records = [
            Record(
                model=model.name,
                model_sha256=sha256_file(model),
                model_bytes=model.stat().st_size,
                device_name=self.machine.name,
                started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                threads=self.settings.threads,
                cores=self.settings.cores,
                max_drift=self.settings.max_drift,
                runs_asked=self.settings.runs,
            )
            for model in self.models
        ]
        try:
            self._measure(records)
        except MachineError as e:
            for record in records:
                if not record.is_complete and record.failure is None:
                    record.failure = {"kind": e.kind, "message": str(e)}
        finally:
            self._clean_up()
        return records

    def _measure(self, records: list[Record]) -> None:
        info = probe(self.machine)
        mask = core_mask(self.settings.cores, info)
        if mask is not None and not info.has_taskset:
            raise MachineError("device error", f"{self.machine.name} has no taskset, which --cores needs")
        for record in records:
            record.device, record.emulated, record.mask = info.as_dict(), info.emulated, mask
        self._prepare(info, records)
        before = read_state(self.machine).as_dict()
        for record in records:
            record.state_before = before
        self._rounds(info, mask, records)
        if self.settings.sustained_min and not info.emulated:
            for model, record in zip(self.models, records, strict=True):
                if record.failure is None:
                    self._sustained(model, record, mask)
        after = read_state(self.machine).as_dict()
        for record in records:
            record.state_after = after
            record.is_complete = record.failure is None

    def _prepare(self, info: DeviceInfo, records: list[Record]) -> None:
        """Copy everything over, each file once."""
        self._shell(f"mkdir -p {quote(self.folder)}")
        pushed: set[str] = set()
        for model, record in zip(self.models, records, strict=True):
            runner = self.runners[model] = self._runner_for(model, info)
            record.runner = {"name": runner.name, "version": runner.version, "sha256": runner.sha256}
            for name, path in runner.files().items():
                if name not in pushed:
                    self.progress(f"{self.machine.name}: copying {name}")
                    self.machine.push(path, f"{self.folder}/{name}")
                    pushed.add(name)
            if not isinstance(runner, ViaAppRunner):
                self._shell(f"chmod 755 {quote(self.folder)}/{next(iter(runner.files()))}")
            self.progress(f"{self.machine.name}: copying {model.name}")
            self.machine.push(model, f"{self.folder}/{model.name}")
            self._push_inputs(model, runner)

    def _runner_for(self, model: Path, info: DeviceInfo) -> Runner:
        try:
            if self.settings.via_app:
                return ViaAppRunner(model, manifest_path(model), self.settings.app)
            return choose_runner(
                model,
                is_android=info.is_android,
                is_local=self.is_local,
                given=self.settings.runner,
                cache_dir=self.cache_dir,
                version=self.settings.litert_version,
            )
        except ValueError as e:
            raise MachineError("no runner", str(e)) from e

    def _push_inputs(self, model: Path, runner: Runner) -> None:
        """Give our runner the same random input on every machine; the others make their own."""
        self.inputs[model] = []
        if runner.name != "litert_runner":
            return
        self.inputs[model] = host_run.seeded_inputs(tflite_file.read_interface(model).inputs)
        with tempfile.TemporaryDirectory(prefix="edge_vit-") as scratch:
            for i, data in enumerate(self.inputs[model]):
                local = Path(scratch) / f"{model.name}.input{i}"
                local.write_bytes(data)
                self.machine.push(local, f"{self.folder}/{local.name}")

    def _rounds(self, info: DeviceInfo, mask: int | None, records: list[Record]) -> None:
        """Run the models in turn, the order turned round each time (A B, B A, ...), so that warming up favours none."""
        rounds = self.settings.rounds if len(self.models) > 1 and not info.emulated else 1
        schedule = self.settings.schedule(info.emulated)
        repeats = 1 if info.emulated else self.settings.repeat
        for repeat in range(repeats):
            if repeat and self.settings.cool_down_s:
                self.progress(f"{self.machine.name}: cooling down for {self.settings.cool_down_s:g} s")
                self._wait(self.settings.cool_down_s)
            for number in range(rounds):
                order = list(zip(self.models, records, strict=True))
                for model, record in order if number % 2 == 0 else reversed(order):
                    if record.failure is None:
                        self._one_round(model, record, mask, schedule, repeat)

    def _one_round(self, model: Path, record: Record, mask: int | None, schedule: Schedule, repeat: int) -> None:
        self.progress(f"{self.machine.name}: running {model.name}" + (f" (repeat {repeat + 1})" if repeat else ""))
        output, failure = self._call(model, schedule, mask)
        if failure is None and isinstance(self.runners[model], ExecutorRunner):
            output, failure = self._long_enough(model, schedule, mask, output)
        record.emulated |= output.untimed is not None
        record.add_round(output, repeat)
        if failure is not None:
            record.failure = {"kind": failure.kind, "message": str(failure)}
            if failure.kind != "runner failed":
                raise failure
        elif record.output_sha256 is None:
            self._fetch_output(model, record)

    def _call(self, model: Path, schedule: Schedule, mask: int | None) -> tuple[Output, MachineError | None]:
        """Call the runner once; return what it told, with the error if it did not come to its end."""
        runner = self.runners[model]
        lines: list[str] = []
        call = Call(
            folder=self.folder,
            model=f"./{model.name}",
            inputs=tuple(f"./{model.name}.input{i}" for i in range(len(self.inputs[model]))),
            output=f"./{model.name}.output" if runner.name not in NO_OUTPUT else None,
            threads=self.settings.threads,
            schedule=schedule,
        )
        is_measuring = False

        def watch(line: str) -> None:
            nonlocal is_measuring
            lines.append(line)
            if not is_measuring and line.startswith('{"event":"samples"'):
                is_measuring = True
                self.progress(f"{self.machine.name}: measuring {model.name}")

        limit = 1800 + 2 * (schedule.max_s + schedule.max_warmup_s)
        failure: MachineError | None = None
        output = Output()
        try:
            code, _ = self.machine.run(runner.script(call, mask), on_line=watch, timeout_s=limit)
            if code:
                failure = self._explain(runner, code, lines, model)
        except MachineError as e:
            failure = e
        try:
            output = runner.parse(lines)
        except MachineError as e:
            failure = failure or e
        if failure is None and not output.is_complete:
            said = f"{runner.name} on {self.machine.name} printed no result for {model.name}"
            failure = MachineError("runner failed", said)
        return output, failure

    def _explain(self, runner: Runner, code: int, lines: Sequence[str], model: Path) -> MachineError:
        if isinstance(runner, ViaAppRunner) and (why := explain(code, lines)):
            return MachineError("runner failed", f"{self.machine.name}: {why}")
        return explain_failure(runner, code, lines, model.name, self.machine.name)

    def _long_enough(
        self, model: Path, schedule: Schedule, mask: int | None, output: Output
    ) -> tuple[Output, MachineError | None]:
        """Call a runner that knows only a number of runs again, with as many as fill the minimum time."""
        took_us = sum(output.samples_us)
        if not output.samples_us or took_us >= schedule.min_s * 1e6:
            return output, None
        runs = math.ceil(schedule.min_s * 1e6 / took_us * len(output.samples_us))
        return self._call(model, dataclasses.replace(schedule, runs=runs), mask)

    def _fetch_output(self, model: Path, record: Record) -> None:
        runner = self.runners[model]
        if runner.name in NO_OUTPUT:
            return
        remote = f"{self.folder}/{model.name}.output" + ("-0.bin" if isinstance(runner, ExecutorRunner) else "")
        with tempfile.TemporaryDirectory(prefix="edge_vit-") as scratch:
            local = Path(scratch) / "output"
            self.machine.pull(remote, local)
            record.output = local.read_bytes()
        record.output_sha256 = hashlib.sha256(record.output).hexdigest()

    def _sustained(self, model: Path, record: Record, mask: int | None) -> None:
        """Run without a pause for minutes, to see what is left once the machine is warm."""
        seconds = self.settings.sustained_min * 60
        self.progress(f"{self.machine.name}: running {model.name} for {self.settings.sustained_min:g} minutes")
        runner = self.runners[model]
        runs = 1
        if isinstance(runner, ExecutorRunner):  # it knows no duration, only a number
            runs = max(1, round(seconds * 1e6 / record.median_us()))
        is_chunked = runner.name == "benchmark_model"
        chunk = min(CHUNK_S, seconds) if is_chunked else seconds
        schedule = Schedule(warmup_runs=0, warmup_s=0, max_warmup_s=0, runs=runs, min_s=chunk, max_s=chunk * 2)
        begin = time.monotonic()
        while True:
            output, failure = self._call(model, schedule, mask)
            record.add_sustained(output, time.monotonic() - begin)
            if failure is not None:
                record.failure = {"kind": failure.kind, "message": str(failure)}
                if failure.kind != "runner failed":
                    raise failure
                return
            if not is_chunked or time.monotonic() - begin >= seconds:
                return

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.machine.cancel.is_set:
                raise MachineError("interrupted", "interrupted")
            time.sleep(min(0.2, seconds))

    def _shell(self, script: str) -> None:
        code, said = self.machine.run(script + " 2>&1")
        if code:
            detail = said.strip().splitlines()[-1:] or [f"exit code {code}"]
            kind = "no space" if "No space left" in said else "device error"
            raise MachineError(kind, f"{self.machine.name}: {detail[0]}")

    def _clean_up(self) -> None:
        """Remove the work folder, also after Ctrl-C; a machine that is gone cannot be cleaned."""
        self.machine.cancel.clear()
        with contextlib.suppress(MachineError):
            self.machine.stop()
            self.machine.run(f"rm -rf {quote(self.folder)}", timeout_s=30)
