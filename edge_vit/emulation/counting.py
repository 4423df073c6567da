"""Count the instructions of models on emulated cores, compare them, and write what was asked for."""

from dataclasses import dataclass
from pathlib import Path

from edge_vit.devices.bench import BenchResult, check_cache, check_models
from edge_vit.devices.session import Progress
from edge_vit.emulation import report
from edge_vit.emulation.cores import CPUS, DEFAULT_CPUS, core


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRequest:
    """What to count, on which cores, and what to write.

    Attributes:
        cpus: Some of `emulation.cores.CPUS`.
        by_operator: Also tell where the instructions go.
        threads: Among which the runtime shares the work; all are counted.
        in_half: Let LiteRT compute float operators in float16.
        runs: Inferences that are counted; the median is the result.
        results: A folder to append to.
        cache_dir: Downloads and builds; see converters/cache.py for the default.
    """

    models: tuple[Path, ...]
    cpus: tuple[str, ...] = DEFAULT_CPUS
    by_operator: bool = False
    threads: int = 1
    in_half: bool = False
    runs: int = 2
    results: Path | None = None
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        check_models(self.models)
        check_cache(self.cache_dir)
        for model in self.models:
            if self.in_half and model.suffix != ".tflite":
                raise ValueError(f"--half is LiteRT's and so takes .tflite, not {model.name}")
        for cpu in self.cpus:
            if not core(cpu).has_half and self.in_half:
                able = ", ".join(name for name in CPUS if core(name).has_half)
                raise ValueError(f"--half: {cpu} does not compute in float16; choose with --cpu from {able}")
        if self.runs < 1:
            raise ValueError(f"runs is {self.runs}; at least one inference must be counted")


def count(request: CountRequest, progress: Progress) -> BenchResult:
    """Count as requested and write what was asked for.

    Raises:
        ValueError: If the emulator cannot be had, a model fails on it, or a file to be written later cannot be.
    """
    if request.results:
        report.check(request.results)
    found = report.measure(
        request.models,
        request.cpus,
        with_operators=request.by_operator,
        runs=request.runs,
        threads=request.threads,
        in_half=request.in_half,
        cache_dir=request.cache_dir,
        progress=progress,
    )
    unwritten: tuple[str, ...] = ()
    try:
        if request.results:
            report.append(request.results, found)
    except ValueError as e:
        unwritten = (str(e),)
    return BenchResult(records=found, text=report.table(found), unwritten=unwritten)
