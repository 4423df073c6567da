"""Measure the latency of .tflite and .pte artefacts on ARM devices over adb or on this machine, or emulate.

python -m edge_vit.bench_arm artifacts/levit_128s_int8.tflite                 the one attached device
python -m edge_vit.bench_arm A.tflite B.tflite --all --cores big --repeat 3   A against B on all devices at once
python -m edge_vit.bench_arm A.tflite --local                                 this machine: Raspberry Pi, ARM server
python -m edge_vit.bench_arm A.pte --via-app                                  through the demo app on the phone
python -m edge_vit.bench_arm A.tflite A.pte --emulate --by-operator           instructions on emulated ARM cores
python -m edge_vit.bench_arm A.onnx --simulate hexagon                        Qualcomm's NPU, compiled and simulated
python -m edge_vit.bench_arm --import FOLDER                                  records that phones elsewhere made
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vit.devices.settings import Settings
from edge_vit.emulation.cores import CPUS, DEFAULT_CPUS

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer
    from edge_vit.devices.bench import BenchRequest, BenchResult
    from edge_vit.devices.imported import ImportRequest
    from edge_vit.emulation.counting import CountRequest
    from edge_vit.evaluation.simulation import SimulationRequest


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    d = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.bench_arm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help=".tflite or .pte; several are compared")
    where = parser.add_argument_group("where")
    where.add_argument("--serial", action="append", default=[], help="a device's serial; may be given several times")
    where.add_argument("--all", action="store_true", dest="take_all", help="every attached device, in parallel")
    where.add_argument("--adb", help="the adb program (default: on PATH, else the one in adbutils' wheel)")
    where.add_argument("--adb-host", metavar="HOST", help="where adb's server runs (adb -H)")
    where.add_argument("--adb-port", type=int, metavar="PORT", help="and at which port (adb -P)")
    where.add_argument("--local", action="store_true", help="this machine itself")
    where.add_argument("--emulate", action="store_true", help="count instructions on emulated cores; needs no device")
    where.add_argument(
        "--cpu",
        action="append",
        help=f"core to emulate: {', '.join(CPUS)} (default: {' and '.join(DEFAULT_CPUS)}); may be given several times",
    )
    where.add_argument(
        "--simulate", metavar="NPU",
        help="hexagon: compile .onnx files for Qualcomm's NPU, say where each operator runs, compare the outputs",
    )  # fmt: skip
    where.add_argument("--by-operator", action="store_true", help="with --emulate: where the instructions go")
    where.add_argument("--half", action="store_true", help="with --emulate: LiteRT computes float operators in float16")
    where.add_argument(
        "--import",
        type=Path,
        dest="folder",
        metavar="FOLDER",
        help="measure nothing: read the records of a device farm",
    )
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


def request_from(arguments: argparse.Namespace) -> "BenchRequest | CountRequest | ImportRequest | SimulationRequest":
    """Return the request that the command line describes: to measure, with --emulate to count, with --import to read.

    Raises:
        ValueError: If a value makes no sense, or two flags do not go together.
    """
    from edge_vit.devices.bench import BenchRequest

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
    if a.folder:
        return _import_request(a)
    if a.simulate:
        return _simulation_request(a)
    if a.local + a.emulate + bool(a.serial or a.take_all) > 1:
        raise ValueError("choose one of --local, --emulate, and devices (--serial, --all)")
    if a.emulate:
        return _count_request(a, settings)
    if a.by_operator:
        raise ValueError("--by-operator counts instructions and so needs --emulate")
    if a.cpu:
        raise ValueError("--cpu names a core to emulate and so needs --emulate")
    if a.half:
        raise ValueError("--half is counted and not timed, and so needs --emulate")
    return BenchRequest(
        models=tuple(a.models),
        settings=settings,
        adb=a.adb,
        adb_host=a.adb_host,
        adb_port=a.adb_port,
        serials=tuple(a.serial),
        take_all=a.take_all,
        is_local=a.local,
        csv=a.csv,
        plot=a.plot,
        results=a.results,
        cache_dir=a.cache_dir,
    )


def _count_request(a: argparse.Namespace, settings: Settings) -> "CountRequest":
    from edge_vit.emulation.counting import CountRequest

    if settings.via_app:
        raise ValueError("--via-app starts the demo app on a phone; leave --local and --emulate out")
    if a.plot or a.csv:
        raise ValueError("--emulate has no latencies to put into --csv or --plot; take --json or --results")
    return CountRequest(
        models=tuple(a.models),
        cpus=tuple(a.cpu or DEFAULT_CPUS),
        by_operator=a.by_operator,
        threads=settings.threads,
        in_half=a.half,
        runs=settings.emulated_runs,
        results=a.results,
        cache_dir=a.cache_dir,
    )


def _simulation_request(a: argparse.Namespace) -> "SimulationRequest":
    from edge_vit.evaluation.simulation import SimulationRequest

    if a.local or a.emulate or a.serial or a.take_all or a.via_app or a.app:
        raise ValueError("--simulate needs no device; leave --local, --emulate and devices out")
    if a.plot or a.csv or a.results:
        raise ValueError("--simulate measures no latencies; take --json")
    return SimulationRequest(models=tuple(a.models), simulator=a.simulate)


def _import_request(a: argparse.Namespace) -> "ImportRequest":
    from edge_vit.devices.imported import ImportRequest

    if a.models or a.local or a.emulate or a.serial or a.take_all or a.via_app or a.app:
        raise ValueError("--import measures nothing; leave models and devices out")
    if a.plot:
        raise ValueError("--plot draws what was measured here; with --import take --csv or --results")
    return ImportRequest(folder=a.folder, csv=a.csv, results=a.results)


def run(request: "BenchRequest | CountRequest | ImportRequest | SimulationRequest") -> "BenchResult":
    """Measure, count or read as requested.

    Raises:
        ValueError: If nothing can be measured at all. A device that fails on the way leaves a marked record instead.
    """
    from edge_vit.devices.bench import measure
    from edge_vit.devices.imported import ImportRequest, take_in
    from edge_vit.emulation.counting import CountRequest, count
    from edge_vit.evaluation.simulation import SimulationRequest, simulate

    if isinstance(request, ImportRequest):
        return take_in(request)
    if isinstance(request, SimulationRequest):
        return simulate(request, _progress)
    return count(request, _progress) if isinstance(request, CountRequest) else measure(request, _progress)


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code: 1 when something could not be measured or written, 2 for misuse."""
    from edge_vit.console.answer import answer

    # Not forced: a device is cleaned however long that takes.
    return answer(lambda: _answer(argv), interrupted="interrupted", is_forced=False)


def _answer(argv: Sequence[str] | None) -> "Answer":
    from edge_vit.console.answer import Answer

    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not arguments.models and not arguments.folder:
        parser.error("the following arguments are required: MODEL")
    request = request_from(arguments)
    try:
        result = run(request)
    except ValueError as e:  # no misuse: a device or a tool is missing
        raise RuntimeError(str(e)) from e
    remarks = [f"error: {line}" for line in result.failures]
    remarks += [f"error: {line}; all records are on standard output" for line in result.unwritten]
    text = json.dumps(result.records, indent=1) if arguments.json or result.unwritten else result.text
    return Answer(text=text, code=1 if remarks else 0, remarks=tuple(remarks))


if __name__ == "__main__":
    raise SystemExit(main())
