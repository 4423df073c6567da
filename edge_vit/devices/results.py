"""The table of records, and the files and the folder in which they are kept."""

import contextlib
import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

PREPROCESSING = "Times are those of the inference call alone; preprocessing is not counted."
EMULATED = "Emulated devices: their times are the emulator's and are not shown."
QUANTILES = "Intervals are 95%, by block bootstrap; none where the samples are too few."
RATIOS = "A ratio's is Student's t over the rounds' ratios; none for one round, and few rounds make it wide."
# What a line of results.jsonl needs to be a row of the table.
NEEDED = {"model", "device_name", "device", "runner", "threads", "cores", "emulated", "figures"}
_TRIED_BYTES = 1 << 16


def check_writable(files: Iterable[Path]) -> None:
    """Try now whether files can be written later; nothing is left behind.

    Raises:
        ValueError: If one cannot, or its disk is full.
    """
    for file in files:
        folder = file.parent
        while not folder.exists():  # made when something is written
            folder = folder.parent
        with _told(file):
            if file.exists():
                open(file, "ab").close()
            with tempfile.TemporaryFile(dir=folder) as handle:
                handle.write(bytes(_TRIED_BYTES))


def write_whole(path: Path, text: str) -> None:
    """Write a file, which appears whole or not at all.

    Raises:
        ValueError: If it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8", newline="")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def append_lines(path: Path, plains: Iterable[dict]) -> None:
    """Append records to a file of JSON lines, all or none.

    Raises:
        ValueError: If it cannot be written.
    """
    left = memoryview("".join(json.dumps(plain) + "\n" for plain in plains).encode())
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as handle:
            end = handle.tell()
            try:
                while left:
                    left = left[handle.write(left) :]
            except OSError:
                with contextlib.suppress(OSError):  # half a line would spoil the file
                    handle.truncate(end)
                raise


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn an error of the system into one line that names the file."""
    try:
        yield
    except OSError as e:
        raise ValueError(f"cannot write {path}: {e.strerror or e}") from e


def load_lines(path: Path, is_record: Callable[[dict], bool]) -> list[dict]:
    """Return the records of a file of JSON lines, none where there is no file.

    Raises:
        ValueError: If the file cannot be read, or a line is no object that `is_record` takes for one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except OSError as e:
        raise ValueError(f"cannot read {path}: {e.strerror or e}") from e
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is not text; repair or remove it") from e
    found = []
    for number, line in enumerate(lines, 1):
        try:
            plain = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            plain = None
        if not isinstance(plain, dict) or not is_record(plain):
            raise ValueError(f"{path} line {number} is not a record; repair or remove it")
        found.append(plain)
    return found


def load(folder: Path) -> list[dict]:
    """Return all records of a results folder as plain values.

    Raises:
        ValueError: If a line is no record.
    """
    return load_lines(folder / "results.jsonl", is_record)


def is_record(plain: dict) -> bool:
    """Tell whether a line has what a row of the table needs."""
    has_parts = plain.keys() >= NEEDED and all(isinstance(plain[key], dict) for key in ("device", "runner", "figures"))
    return has_parts and plain["figures"].keys() >= {"num_samples", "marks"}


def append(folder: Path, plains: Sequence[dict]) -> None:
    """Append records to the results folder and make its Markdown table anew.

    Raises:
        ValueError: If one of the two files cannot be written, or a line that is there is no record.
    """
    append_lines(folder / "results.jsonl", plains)
    write_whole(folder / "results.md", markdown(load(folder)))


COLUMNS = (
    "device", "system", "model", "runner", "threads", "cores", "runs", "p50 ms", "p90 ms", "p99 ms",
    "first ms", "cold start ms", "peak MB", "drift", "against first", "output", "marks",
)  # fmt: skip


def row(plain: dict) -> list[str]:
    """Return a record's cells, one for each of COLUMNS."""
    found, device = plain["figures"], plain["device"]
    drift, ratio = found.get("drift"), plain.get("ratio")
    return [
        f"{device.get('model', '?')} ({plain['device_name']})",
        device.get("system", "?"),
        plain["model"],
        f"{plain['runner'].get('name', '?')} {plain['runner'].get('version', '')}".strip(),
        str(plain["threads"]),
        plain["cores"],
        str(found["num_samples"]),
        _with_interval(found, "p50"),
        _with_interval(found, "p90"),
        _with_interval(found, "p99"),
        _number(found.get("first_ms")),
        _number(found.get("cold_start_ms")),
        _number(plain["peak_kb"] / 1024 if plain.get("peak_kb") else None),
        "-" if drift is None else f"{drift:+.1%}",
        "-" if not ratio else f"{ratio['value']:.3f}" + _interval(ratio["low"], ratio["high"], 3),
        describe_output(plain),
        ", ".join(found["marks"]) or "-",
    ]


def describe_output(plain: dict) -> str:
    """Say how a record's output compares with this machine's own."""
    if plain.get("output_not_compared"):
        return "not compared"
    if plain.get("output_equals_host") is None:
        return plain["output_sha256"][:12] if plain.get("output_sha256") else "-"
    if plain["output_equals_host"]:
        return "equal to host's"
    difference = plain.get("output_max_difference")
    return "differs from host's" + (f" by up to {difference:.2g}" if difference is not None else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _with_interval(found: dict, key: str) -> str:
    if found.get(key) is None:
        return "-"
    low, high = found.get(f"{key}_interval") or (None, None)
    return _number(found[key]) + _interval(low, high, 2 if found[key] >= 10 else 3)


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"


def notes(plains: Sequence[dict]) -> list[str]:
    """Return what stands under a table."""
    said = [EMULATED] if any(p["emulated"] for p in plains) else []
    timed = [p for p in plains if not p["emulated"]]
    if timed:
        said.append(f"{PREPROCESSING} {QUANTILES}" + (f" {RATIOS}" if any(p.get("ratio") for p in timed) else ""))
    said += dict.fromkeys(f"{p['device_name']}: {p['device']['cpu']}." for p in timed if p["device"].get("cpu"))
    return said


def table(plains: Sequence[dict]) -> str:
    """Return a plain-text table, without the columns that are empty throughout."""
    rows = [list(COLUMNS), *(row(p) for p in plains)]
    keep = [i for i in range(len(COLUMNS)) if any(r[i] != "-" for r in rows[1:])]
    widths = {i: max(len(r[i]) for r in rows) for i in keep}
    lines = ["  ".join(r[i].ljust(widths[i]) for i in keep).rstrip() for r in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *notes(plains)])


def markdown(plains: Sequence[dict]) -> str:
    """Return a Markdown table over models and devices, best first within a device."""
    ordered = sorted(plains, key=lambda p: (p["device_name"], p["figures"].get("p50") or float("inf"), p["model"]))
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row(p)) + " |" for p in ordered]
    return "\n".join(["# Latency", "", *lines, "", *notes(plains), ""])


def write_csv(path: Path, plains: Sequence[dict]) -> None:
    """Write the table as CSV, numbers bare.

    Raises:
        ValueError: If it cannot be written.
    """
    names = ["p50", "p90", "p99", "p95", "first_ms", "cold_start_ms", "drift", "num_samples"]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    what = ["device", "device_model", "soc", "system", "model", "model_sha256", "runner", "threads", "cores"]
    writer.writerow([*what, "emulated", *names, "peak_kb", "output_sha256", "complete", "failure", "marks"])
    for p in plains:
        device, found = p["device"], p["figures"]
        place = [p["device_name"], *(device.get(key) for key in ("model", "soc", "system"))]
        what = [p["model"], p["model_sha256"], p["runner"].get("name"), p["threads"], p["cores"], p["emulated"]]
        rest = [p["peak_kb"], p["output_sha256"], p["is_complete"], (p["failure"] or {}).get("message")]
        writer.writerow([*place, *what, *(found.get(name) for name in names), *rest, "; ".join(found["marks"])])
    write_whole(path, text.getvalue())
