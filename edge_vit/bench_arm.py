"""Measure the latency of .tflite and .pte artefacts on ARM devices over adb or on this machine, or emulate.

python -m edge_vit.bench_arm artifacts/levit_128s_int8.tflite                 the one attached device
python -m edge_vit.bench_arm A.tflite B.tflite --all --cores big --repeat 3   A against B on all devices at once
python -m edge_vit.bench_arm A.tflite --local                                 this machine: Raspberry Pi, ARM server
python -m edge_vit.bench_arm A.pte --via-app                                  through the demo app on the phone
python -m edge_vit.bench_arm A.tflite --emulate --by-operator                 instructions on emulated ARM cores
"""

import argparse
import concurrent.futures
import json
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder
from converters.manifest import manifest_path
from edge_vit.devices.session import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """What to measure, where, and what to write."""

    models: tuple[Path, ...]
    settings: Settings
    adb: str | None = None
    serials: tuple[str, ...] = ()
    take_all: bool = False
    local: bool = False
    emulate: bool = False
    cpus: tuple[str, ...] = ()
    by_operator: bool = False
    csv: Path | None = None
    plot: Path | None = None
    results: Path | None = None
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        for model in self.models:
            if not model.is_file():
                raise ValueError(f"no model {model}")
            if model.suffix not in (".tflite", ".pte"):
                raise ValueError(f"{model.name} is neither a .tflite nor a .pte; bench_arm runs these two")
            if self.emulate and model.suffix != ".tflite":
                raise ValueError(f"--emulate runs LiteRT and so takes .tflite, not {model.name}")
        if len({model.name for model in self.models}) < len(self.models):
            raise ValueError("two models have the same file name; a table could not tell them apart")
        if self.local + self.emulate + bool(self.serials or self.take_all) > 1:
            raise ValueError("choose one of --local, --emulate, and devices (--serial, --all)")
        if self.serials and self.take_all:
            raise ValueError("choose --serial or --all, not both")
        if self.settings.via_app:
            self._check_app()
        if self.by_operator and not self.emulate:
            raise ValueError("--by-operator counts instructions and so needs --emulate")
        if self.emulate and (self.plot or self.csv):
            raise ValueError("--emulate has no latencies to put into --csv or --plot; take --json or --results")

    def _check_app(self) -> None:
        if self.local or self.emulate:
            raise ValueError("--via-app starts the demo app on a phone; leave --local and --emulate out")
        needed = [manifest_path(model) for model in self.models] + [p for p in (self.settings.app,) if p]
        for path in needed:
            if not path.is_file():
                raise ValueError(f"no file {path}; --via-app takes each model with its manifest beside it, and an APK")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """The records as plain values, the text that shows them, and whether every one is complete."""

    records: list[dict]
    text: str
    is_complete: bool


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    d = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.bench_arm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help=".tflite or .pte; several are compared")
    where = parser.add_argument_group("where")
    where.add_argument("--serial", action="append", default=[], help="a device's serial; may be given several times")
    where.add_argument("--all", action="store_true", dest="take_all", help="every attached device, in parallel")
    where.add_argument("--adb", help="the adb program (default: on PATH, else the one in adbutils' wheel)")
    where.add_argument("--local", action="store_true", help="this machine itself")
    where.add_argument("--emulate", action="store_true", help="count instructions on emulated cores; needs no device")
    where.add_argument("--cpu", action="append", help="core to emulate, cortex-a53 or cortex-a76 (default: both)")
    where.add_argument("--by-operator", action="store_true", help="with --emulate: where the instructions go")
    how = parser.add_argument_group("how")
    how.add_argument("--cores", default=d.cores, help="all, big, little, or a hexadecimal mask for taskset")
    how.add_argument("--threads", type=int, default=d.threads)
    how.add_argument("--runs", type=int, default=d.runs, help=f"at least so many inferences (default {d.runs})")
    how.add_argument("--min-seconds", type=float, default=d.min_s, help=f"and at least so long (default {d.min_s:g})")
    how.add_argument("--max-seconds", type=float, default=d.max_s, help=f"but no longer (default {d.max_s:g})")
    how.add_argument("--warmup-runs", type=int, default=d.warmup_runs)
    how.add_argument("--warmup-seconds", type=float, default=d.warmup_s)
    how.add_argument("--max-warmup-seconds", type=float, default=d.max_warmup_s, help="give up on getting steady")
    how.add_argument("--repeat", type=int, default=d.repeat, help="measure so many times, with a pause between")
    how.add_argument("--cool-down", type=float, default=d.cool_down_s, metavar="SECONDS", help="the pause")
    how.add_argument("--rounds", type=int, default=d.rounds, help="turns that several models take (default 5)")
    how.add_argument("--sustained", type=float, default=d.sustained_min, metavar="MINUTES", help="then run on and on")
    how.add_argument("--max-drift", type=float, default=d.max_drift, help="beyond it a run is not reproducible")
    how.add_argument("--emulated-runs", type=int, default=d.emulated_runs, help="inferences on an emulated device")
    how.add_argument("--runner", type=Path, help="your own benchmark_model, executor_runner or litert_runner")
    how.add_argument("--litert-version", help="LiteRT release of the runner (default: the installed one)")
    how.add_argument("--via-app", action="store_true", help="through the demo app, which must be on the phone")
    how.add_argument("--app", type=Path, metavar="APK", help="install this demo app first, then as --via-app")
    out = parser.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="print all records, samples included, as JSON")
    out.add_argument("--csv", type=Path, metavar="FILE")
    out.add_argument("--plot", type=Path, metavar="FILE.svg", help="distribution and sustained curve")
    out.add_argument("--results", type=Path, metavar="DIR", help="append to this folder and its Markdown table")
    out.add_argument("--cache-dir", type=Path, help="downloads and builds (default: the user's cache folder)")
    return parser


def config_from(arguments: argparse.Namespace) -> BenchConfig:
    """Return the configuration that the command line describes."""
    a = arguments
    settings = Settings(
        cores=a.cores,
        threads=a.threads,
        runs=a.runs,
        min_s=a.min_seconds,
        max_s=a.max_seconds,
        warmup_runs=a.warmup_runs,
        warmup_s=a.warmup_seconds,
        max_warmup_s=a.max_warmup_seconds,
        repeat=a.repeat,
        cool_down_s=a.cool_down,
        rounds=a.rounds,
        sustained_min=a.sustained,
        max_drift=a.max_drift,
        emulated_runs=a.emulated_runs,
        runner=a.runner,
        litert_version=a.litert_version,
        via_app=a.via_app or a.app is not None,
        app=a.app,
    )
    return BenchConfig(
        models=tuple(a.models),
        settings=settings,
        adb=a.adb,
        serials=tuple(a.serial),
        take_all=a.take_all,
        local=a.local,
        emulate=a.emulate,
        cpus=tuple(a.cpu or ()),
        by_operator=a.by_operator,
        csv=a.csv,
        plot=a.plot,
        results=a.results,
        cache_dir=a.cache_dir,
    )


def run(config: BenchConfig) -> BenchResult:
    """Measure as configured and write what was asked for.

    Raises:
        ValueError: If nothing can be measured at all. A device that fails on the way leaves a marked record instead.
    """
    cache_dir = cache_folder(config.cache_dir)
    return _emulate(config, cache_dir) if config.emulate else _measure(config, cache_dir)


def _emulate(config: BenchConfig, cache_dir: Path) -> BenchResult:
    from edge_vit.emulation import report as emulation_report
    from edge_vit.emulation import tflite as emulation

    found = emulation_report.measure(
        config.models,
        config.cpus or emulation.CPUS,
        with_operators=config.by_operator,
        runs=config.settings.emulated_runs,
        cache_dir=cache_dir,
        progress=_progress,
    )
    if config.results:
        emulation_report.append(config.results, found)
    return BenchResult(records=found, text=emulation_report.table(found), is_complete=True)


def _measure(config: BenchConfig, cache_dir: Path) -> BenchResult:
    from edge_vit.devices import adb, compare, plot, records, tflite_file
    from edge_vit.devices.local import LocalMachine
    from edge_vit.devices.session import Session

    for model in config.models:
        if model.suffix == ".tflite":
            tflite_file.read_interface(model)  # a damaged file is told before any device is touched
    machines: list = [LocalMachine()]
    if not config.local:
        program = adb.find_adb(config.adb)
        chosen = adb.choose_devices(adb.list_devices(program), config.serials, config.take_all)
        machines = [adb.AdbDevice(program, serial) for serial in chosen]
    sessions = [Session(machine, config.models, config.settings, cache_dir, _progress) for machine in machines]
    found = []
    for gathered in _in_parallel(sessions):
        compare.outputs(config.models, gathered, cache_dir)
        compare.ratios(gathered)
        found += gathered
    plains = [record.as_dict() for record in found]
    if config.results:
        records.append(config.results, plains)
    if config.csv:
        records.write_csv(config.csv, plains)
    text = records.table(plains)
    failures = [f"{r.device_name}: {r.model}: {r.failure['message']}" for r in found if r.failure]
    if failures:
        text += "\n\nFailed:\n" + "\n".join(failures)
    if config.plot:
        plot.write_plot(config.plot, plains)
    return BenchResult(records=plains, text=text, is_complete=all(r.is_complete for r in found))


def _in_parallel(sessions: Sequence) -> list[list]:
    """Let every session measure in a thread of its own; Ctrl-C ends all, and each cleans up and keeps what it has."""
    with concurrent.futures.ThreadPoolExecutor(len(sessions)) as pool:
        futures = [pool.submit(session.measure) for session in sessions]
        try:
            concurrent.futures.wait(futures)
        except KeyboardInterrupt:
            _progress("interrupted; cleaning up")
            for session in sessions:
                session.machine.cancel.set()
        return [future.result() for future in futures]


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        config = config_from(arguments)
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up then too
    try:
        result = run(config)
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    print(json.dumps(result.records, indent=1) if arguments.json else result.text)
    return 0 if result.is_complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
