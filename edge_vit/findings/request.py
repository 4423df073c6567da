"""What a report is to be about, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """Artefacts to report on.

    Attributes:
        bench: Files or folders of records that bench_arm left.
        sensitivity: Files that hold what `sensitivity --json` printed.
        data: Pictures by class to measure accuracy on; None measures none.
        limit: Take so many pictures, balanced over the classes.
        float_artefact: Compare with this file; None for the torch model of each manifest's weights.
        output: The page; the same values go beside it as .json. None for report.html beside the first artefact.
        command: How to make the report again, as a person would type it.
    """

    artefacts: tuple[Path, ...]
    bench: tuple[Path, ...] = ()
    sensitivity: tuple[Path, ...] = ()
    data: Path | None = None
    limit: int | None = None
    float_artefact: Path | None = None
    output: Path | None = None
    threads: int = 2
    command: str = ""

    def __post_init__(self) -> None:
        if not self.artefacts:
            raise ValueError("no artefacts; name at least one")
        names = [path.name for path in self.artefacts]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two artefacts are called {doubled}; a report could not tell them apart")
        if self.page.suffix != ".html":
            raise ValueError(f"--output {self.page.name}: a report is a page; end the name in .html")
        if self.threads < 1:
            raise ValueError(f"threads {self.threads} is not allowed; use 1 or more")
        if self.data is None and (self.limit is not None or self.float_artefact is not None):
            flag = "--limit" if self.limit is not None else "--float"
            raise ValueError(f"{flag} is about measuring accuracy and so needs --data")

    @property
    def page(self) -> Path:
        return self.output or self.artefacts[0].with_name(DEFAULT_NAME)

    @property
    def values(self) -> Path:
        """The same as JSON."""
        return self.page.with_suffix(".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A part that a report does not have, and why; `artefact` is None where none has it."""

    part: str
    reason: str
    artefact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """What was written."""

    page: Path
    values: Path
    num_bytes: int
    left_out: Sequence[LeftOut]
    skipped: tuple[str, ...] = ()
