"""Read records that phones elsewhere made, on a farm or on a desk, and sum them up by system on chip, worst first."""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from edge_vit.devices import results
from edge_vit.devices.bench import BenchResult
from edge_vit.devices.records import Record
from edge_vit.devices.stats import quantile

_COLUMNS = ("soc", "model", "runs on", "threads", "phones", "median p50 ms", "worst p50 ms", "worst phone", "marked")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """The folder that a farm gave back, searched whole, and what to write."""

    folder: Path
    csv: Path | None = None
    results: Path | None = None

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise ValueError(f"no folder {self.folder}; give the one that holds the records")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What phones of one system on chip need for one model. `marked` counts records that have marks."""

    soc: str
    model: str
    accelerator: str
    threads: int
    phones: int
    median_ms: float
    worst_ms: float
    worst_phone: str
    marked: int


def take_in(request: ImportRequest) -> BenchResult:
    """Read all records below the folder, and write what was asked for.

    Raises:
        ValueError: If there is no record, or a file to be written cannot be.
    """
    wanted = [path for path in (request.csv,) if path]
    if request.results:
        wanted += [request.results / "results.jsonl", request.results / "results.md"]
        results.load(request.results)
    results.check_writable(wanted)
    plains, failures = read(request.folder)
    if not plains and not failures:
        raise ValueError(f"no record below {request.folder}; the app's lie in its files/bench folder, one .json each")
    if request.csv:
        results.write_csv(request.csv, plains)
    if request.results:
        results.append(request.results, plains)
    parts = [results.table(plains), summary_text(summarise(plains))] if plains else []
    parts += ["\n".join(["Failed:", *failures])] if failures else []
    return BenchResult(records=plains, text="\n\n".join(parts), failures=tuple(failures))


def read(folder: Path) -> tuple[list[dict], list[str]]:
    """Return the records below a folder, each once, with figures derived anew, and a line for each that is none.

    A farm's own JSON files are passed over; a damaged file, or one in which the app tells an error, is not.
    """
    found: dict[tuple, dict] = {}
    failures: list[str] = []
    for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.jsonl")]):
        name = path.relative_to(folder)
        try:
            for plain in _records(path):
                if set(plain) == {"error"}:
                    failures.append(f"{name}: the app could not measure: {plain['error']}")
                elif plain.keys() >= results.NEEDED:
                    made = _again(plain)
                    found.setdefault(_identity(made), made)
        except (json.JSONDecodeError, UnicodeDecodeError):
            failures.append(f"{name}: cut short or damaged")
        except (TypeError, KeyError, ValueError, AttributeError) as e:
            failures.append(f"{name}: made by another version ({e})")
    return list(found.values()), failures


def _records(path: Path) -> Iterator[dict]:
    text = path.read_text(encoding="utf-8")
    whole = [json.loads(line) for line in text.splitlines() if line] if path.suffix == ".jsonl" else json.loads(text)
    for plain in whole if isinstance(whole, list) else [whole]:
        if isinstance(plain, dict):
            yield plain


def _again(plain: dict) -> dict:
    """Return a record with its figures derived here: the app leaves out what takes a random generator."""
    known = {field.name for field in fields(Record)}
    return Record(**{key: value for key, value in plain.items() if key in known}).as_dict()


def _identity(plain: dict) -> tuple:
    what = (plain["started"], plain["model_sha256"], plain["threads"], plain["runner"].get("accelerator_asked"))
    return (plain["device_name"], plain["device"].get("fingerprint"), *what)


def summarise(plains: Sequence[dict]) -> list[Group]:
    """Return one group for each system on chip, model, accelerator and number of threads, the slowest first.

    A phone that measured several times counts once, with its median; records without times do not count.
    """
    groups: dict[tuple[str, str, str, int], list[dict]] = {}
    for plain in plains:
        if plain["figures"].get("p50") is not None:
            soc = plain["device"].get("soc") or "unknown"
            key = (soc, plain["model"], plain["runner"].get("accelerator") or "CPU", plain["threads"])
            groups.setdefault(key, []).append(plain)
    found = [_group(key, members) for key, members in groups.items()]
    return sorted(found, key=lambda group: -group.median_ms)


def _group(key: tuple[str, str, str, int], members: Sequence[dict]) -> Group:
    by_phone: dict[tuple, list[float]] = {}
    for plain in members:
        phone = (plain["device"].get("model", "?"), plain["device_name"], plain["device"].get("fingerprint"))
        by_phone.setdefault(phone, []).append(plain["figures"]["p50"])
    medians = {phone: statistics.median(values) for phone, values in by_phone.items()}
    worst = max(medians, key=lambda phone: medians[phone])
    soc, model, accelerator, threads = key
    return Group(
        soc=soc,
        model=model,
        accelerator=accelerator,
        threads=threads,
        phones=len(medians),
        median_ms=quantile(list(medians.values()), 50),
        worst_ms=medians[worst],
        worst_phone=worst[0],
        marked=sum(bool(plain["figures"]["marks"]) for plain in members),
    )


def summary_text(groups: Sequence[Group]) -> str:
    """Return the summary as a plain-text table."""
    rows = [list(_COLUMNS)]
    for one in groups:
        times = [f"{one.median_ms:.2f}", f"{one.worst_ms:.2f}", one.worst_phone]
        rows.append([one.soc, one.model, one.accelerator, str(one.threads), str(one.phones), *times, str(one.marked)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["By system on chip, worst first:", lines[0], "-" * len(lines[0]), *lines[1:]])
