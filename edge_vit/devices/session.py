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
from pathlib import Path

from converters.checksum import sha256_file
from converters.manifest import manifest_path
from converters.tflite.reader import read_model
from edge_vit.devices import host_run, stats
from edge_vit.devices.device_info import DeviceInfo, core_mask, probe, read_state
from edge_vit.devices.machine import Machine, MachineError, quote
from edge_vit.devices.records import Record
from edge_vit.devices.runners import Call, ExecutorRunner, Output, Runner, Schedule, choose_runner, explain_failure
from edge_vit.devices.settings import Settings
from edge_vit.devices.via_app import PACKAGE, ViaAppRunner, explain

Progress = Callable[[str], None]
CHUNK_S = 30  # of a sustained run by a runner that keeps no samples
NO_OUTPUT = ("benchmark_model", "android_demo")


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
            _mark_(records, e)
        except OSError as e:  # this machine's own: its disk is full, adb has gone
            _mark_(records, MachineError("device error", f"{self.machine.name}: {e}"))
        finally:
            self._clean_up()
        return records

    def _measure(self, records: list[Record]) -> None:
        info = probe(self.machine)
        mask = core_mask(self.settings.cores, info)
        if mask is not None and not info.has_taskset:
            raise MachineError("device error", f"{self.machine.name} has no taskset, which --cores needs")
        if mask is not None and mask.bit_count() < max(2, self.settings.threads):
            self.progress(describe_cores(self.machine.name, self.settings, mask))
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
            if self.settings.runner is None and self._has_app(model, info):
                self.progress(f"{self.machine.name}: {e}; measuring through the demo app, which is on the device")
                return ViaAppRunner(model, manifest_path(model))
            raise MachineError("no runner", str(e)) from e

    def _has_app(self, model: Path, info: DeviceInfo) -> bool:
        """Tell whether the demo app can take the place of a runner that is not to be had."""
        if not info.is_android or self.settings.cores != "all" or not manifest_path(model).is_file():
            return False
        return self.machine.run(f"pm path {PACKAGE}")[0] == 0

    def _push_inputs(self, model: Path, runner: Runner) -> None:
        """Give our runner the same random input on every machine; the others make their own."""
        self.inputs[model] = []
        if runner.name != "litert_runner":
            return
        try:
            self.inputs[model] = host_run.seeded_inputs(read_model(model).input_tensors)
        except ValueError as e:
            raise MachineError("no runner", f"{model.name}: {e}") from e
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
        except (KeyError, TypeError, ValueError) as e:  # a runner of another version than the one that was read here
            said = f"{runner.name} on {self.machine.name} printed what cannot be read for {model.name}: {e!r}"
            failure = failure or MachineError("runner failed", said)
        has_result = output.samples_us or output.summary or output.untimed is not None
        if failure is None and not (output.is_complete and has_result):
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
            runs = max(1, round(seconds * 1e6 / stats.quantile(record.values_us(), 50)))
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


def _mark_(records: Sequence[Record], failure: MachineError) -> None:
    """Write a failure into every record that it spoiled."""
    for record in records:
        if not record.is_complete and record.failure is None:
            record.failure = {"kind": failure.kind, "message": str(failure)}


def describe_cores(name: str, settings: Settings, mask: int) -> str:
    """Say which cores a choice came to, when they are fewer than a reader would think."""
    cores = [core for core in range(mask.bit_length()) if mask >> core & 1]
    which = f"core {cores[0]} alone" if len(cores) == 1 else f"cores {', '.join(map(str, cores))}"
    threads = f", for {settings.threads} threads" if settings.threads > 1 else ""
    return f"{name}: --cores {settings.cores} is {which}{threads}; give a hexadecimal mask for others"
