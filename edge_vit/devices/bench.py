"""Measure models on all chosen machines, compare them, and write what was asked for: one request, one result."""

import concurrent.futures
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters.cache import cache_folder
from converters.manifest import manifest_path
from converters.tflite.reader import read_model
from edge_vit.devices import adb, compare, plot, results
from edge_vit.devices.local import LocalMachine
from edge_vit.devices.machine import Machine
from edge_vit.devices.session import Progress, Session
from edge_vit.devices.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What to measure, where, and what to write.

    Attributes:
        adb_host, adb_port: Where adb's server is, by default what adb itself takes (this machine, 5037).
        serials, take_all: Which of the devices that adb sees; without either it is the only one there.
        is_local: This machine instead of devices.
        csv, plot: Files to write.
        results: A folder to append to.
        cache_dir: Downloads and builds; see converters/cache.py for the default.
    """

    models: tuple[Path, ...]
    settings: Settings = field(default_factory=Settings)
    adb: str | None = None
    adb_host: str | None = None
    adb_port: int | None = None
    serials: tuple[str, ...] = ()
    take_all: bool = False
    is_local: bool = False
    csv: Path | None = None
    plot: Path | None = None
    results: Path | None = None
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        check_models(self.models)
        check_cache(self.cache_dir)
        if self.adb_port is not None and not 0 < self.adb_port < 65536:
            raise ValueError(f"adb_port is {self.adb_port}; it must be 1 to 65535")
        if self.is_local and (self.serials or self.take_all):
            raise ValueError("choose this machine or devices, not both")
        if self.serials and self.take_all:
            raise ValueError("choose --serial or --all, not both")
        if self.plot:
            plot.check_plot(self.plot)
        if self.settings.via_app:
            self._check_app()

    def _check_app(self) -> None:
        if self.is_local:
            raise ValueError("--via-app starts the demo app on a phone; leave --local and --emulate out")
        needed = [manifest_path(model) for model in self.models] + [p for p in (self.settings.app,) if p]
        for path in needed:
            if not path.is_file():
                raise ValueError(f"no file {path}; --via-app takes each model with its manifest beside it, and an APK")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What was measured.

    Attributes:
        records: As plain values.
        text: What shows them to people.
        failures: A line for each record that is not complete.
        unwritten: A line for each file that could not be written; the records are nowhere but here then.
    """

    records: list[dict]
    text: str
    failures: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()


def check_models(models: Sequence[Path]) -> None:
    """Raise a ValueError unless all are files that a runner takes, each under a name of its own."""
    for model in models:
        if not model.is_file():
            raise ValueError(f"no model {model}")
        if model.suffix not in (".tflite", ".pte"):
            raise ValueError(f"{model.name} is neither a .tflite nor a .pte; bench_arm runs these two")
    if len({model.name for model in models}) < len(models):
        raise ValueError("two models have the same file name; a table could not tell them apart")


def check_cache(folder: Path | None) -> None:
    """Raise a ValueError if a given cache folder is something else."""
    if folder and folder.exists() and not folder.is_dir():
        raise ValueError(f"--cache-dir {folder} is not a folder")


def measure(request: BenchRequest, progress: Progress) -> BenchResult:
    """Measure as requested and write what was asked for.

    Raises:
        ValueError: If nothing can be measured at all, or a file to be written later cannot be. A device that fails on
            the way leaves a marked record instead.
    """
    for model in request.models:
        if model.suffix == ".tflite":
            read_model(model)  # a damaged file is told before any device is touched
    files = [file for file in (request.csv, request.plot) if file]
    if request.results:
        files += [request.results / "results.jsonl", request.results / "results.md"]
        results.load(request.results)
    results.check_writable(files)
    cache = cache_folder(request.cache_dir)
    sessions = [Session(m, request.models, request.settings, cache, progress) for m in _machines(request)]
    found = []
    for gathered in _in_parallel(sessions, progress):
        compare.outputs_(request.models, gathered, cache)
        compare.ratios_(gathered)
        found += gathered
    plains = [record.as_dict() for record in found]
    failures = [f"{r.device_name}: {r.model}: {r.failure['message']}" for r in found if r.failure]
    return BenchResult(
        records=plains,
        text=_text(plains, failures),
        failures=tuple(failures),
        unwritten=_write(request, plains),
    )


def _machines(request: BenchRequest) -> list[Machine]:
    if request.is_local:
        return [LocalMachine()]
    program = adb.find_adb(request.adb)
    server = adb.server_words(request.adb_host, request.adb_port)
    chosen = adb.choose_devices(adb.list_devices(program, server), request.serials, request.take_all)
    return [adb.AdbDevice(program, serial, server=server) for serial in chosen]


def _in_parallel(sessions: Sequence[Session], progress: Progress) -> list[list]:
    """Let every session measure in a thread of its own; Ctrl-C ends all, and each cleans up and keeps what it has."""
    with concurrent.futures.ThreadPoolExecutor(len(sessions)) as pool:
        futures = [pool.submit(session.measure) for session in sessions]
        try:
            concurrent.futures.wait(futures)
        except KeyboardInterrupt:
            progress("interrupted; cleaning up")
            for session in sessions:
                session.machine.cancel.set()
        return [future.result() for future in futures]


def _text(plains: Sequence[dict], failures: Sequence[str]) -> str:
    not_compared = [
        f"{p['device_name']}: {p['model']}: {p['output_not_compared']}" for p in plains if p["output_not_compared"]
    ]
    parts = [results.table(plains)]
    for head, lines in (("Outputs not compared with this machine's:", not_compared), ("Failed:", failures)):
        if lines:
            parts.append("\n".join([head, *lines]))
    return "\n\n".join(parts)


def _write(request: BenchRequest, plains: Sequence[dict]) -> tuple[str, ...]:
    """Write every file that was asked for; return why one could not be. What was measured outlives a full disk."""
    wanted: list[tuple[Path | None, Callable[[Path, Sequence[dict]], None]]] = [
        (request.results, results.append),
        (request.csv, results.write_csv),
        (request.plot, plot.write_plot),
    ]
    failed = []
    for path, write in wanted:
        try:
            if path:
                write(path, plains)
        except ValueError as e:
            failed.append(str(e))
    return tuple(failed)
