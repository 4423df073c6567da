"""What a measurement leaves behind: a record, the figures derived from it, and the folder in which records gather."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge_vit.devices import stats
from edge_vit.devices.runners import Output

MIN_RUNS = 50
PREPROCESSING = "Times are those of the inference call alone; preprocessing is not counted."
EMULATED = "Emulated devices: their times are the emulator's and are not shown."


@dataclass(slots=True, kw_only=True)
class Record:
    """One model on one machine. Times are microseconds, and absent when the machine is emulated."""

    model: str
    model_sha256: str
    model_bytes: int
    device_name: str
    started: str
    threads: int
    cores: str
    max_drift: float
    runs_asked: int
    mask: int | None = None
    emulated: bool = False
    device: dict = field(default_factory=dict)
    runner: dict = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)
    sustained: list[list[float]] = field(default_factory=list)
    peak_kb: float | None = None
    state_before: dict | None = None
    state_after: dict | None = None
    output_sha256: str | None = None
    output: bytes = b""
    output_equals_host: bool | None = None
    output_max_difference: float | None = None
    is_complete: bool = False
    failure: dict | None = None
    ratio: dict | None = None

    def add_round(self, output: Output, repeat: int) -> None:
        """Take in one call of the runner, complete or not; of an emulated machine only how many inferences it made."""
        self.peak_kb = max(filter(None, [self.peak_kb, output.peak_kb]), default=None)
        if self.emulated:
            self.peak_kb = None
            self.rounds.append({"repeat": repeat, "num_samples": output.untimed or len(output.samples_us)})
            return
        if not output.samples_us and not output.summary and not output.warmup_us:
            return
        self.rounds.append(
            {
                "repeat": repeat,
                "num_samples": len(output.samples_us) or int(output.summary.get("count", 0)),
                "samples_us": output.samples_us,
                "summary": output.summary,
                "warmup_us": output.warmup_us,
                "load_us": output.load_us,
                "compile_us": output.compile_us,
                "first_us": output.first_us,
                "is_steady": output.is_steady,
            }
        )

    def add_sustained(self, output: Output, elapsed_s: float) -> None:
        """Take in a stretch of a sustained run."""
        if output.samples_us:
            offset = self.sustained[-1][0] if self.sustained else 0.0
            self.sustained += [[offset + t, us] for t, us in stats.curve(output.samples_us)]
        elif "median" in output.summary:
            self.sustained.append([elapsed_s, output.summary["median"]])

    def samples_us(self) -> list[float]:
        """Return all samples of all rounds, in order."""
        return [us for entry in self.rounds for us in entry.get("samples_us", [])]

    def median_us(self) -> float:
        """Return the median latency."""
        if samples := self.samples_us():
            return stats.quantile(samples, 50)
        return stats.quantile([entry["summary"]["median"] for entry in self.rounds], 50)

    def as_dict(self) -> dict:
        """Return the record with its derived figures as plain values."""
        plain = {key: value for key, value in asdict(self).items() if key != "output"}
        plain["figures"] = figures(self)
        return plain


def figures(record: Record) -> dict:
    """Derive the figures of a record: quantiles in milliseconds, drift, and what is to be said of them."""
    done = sum(entry["num_samples"] for entry in record.rounds)
    if record.emulated:
        return {"num_samples": done, "marks": _marks(record, done, None, None)}
    if not any(entry["num_samples"] for entry in record.rounds):
        return {"num_samples": 0, "marks": _marks(record, 0, None, None)}
    samples = record.samples_us()
    first = record.rounds[0]
    found: dict = {"num_samples": done, "unit": "ms"}
    if samples:
        for q in stats.quantiles(samples):
            found[f"p{q.percent}"] = _ms(q.value)
            found[f"p{q.percent}_interval"] = [_ms(q.low), _ms(q.high)] if q.low is not None else None
    else:
        found["p50"], found["p50_interval"] = _ms(record.median_us()), None
        found["p95"] = _ms(max(entry["summary"].get("p95", 0) for entry in record.rounds)) or None
    drifts = [d for entry in record.rounds if (d := stats.drift(entry.get("samples_us", [])))]
    worst = max(drifts, key=lambda d: abs(d.relative), default=None)
    found["drift"] = round(worst.relative, 4) if worst else None
    found["is_throttled"] = any(d.is_throttled for d in drifts)
    found["spread"] = _spread(record)
    found["first_ms"] = _ms(first["first_us"])
    parts = [first["load_us"], first["compile_us"], first["first_us"]]
    found["cold_start_ms"] = _ms(sum(p for p in parts if p is not None)) if first["first_us"] is not None else None
    found["marks"] = _marks(record, done, worst, found["spread"])
    return found


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 4)


def _spread(record: Record) -> float | None:
    """Return how far the medians of the repeats lie apart, relative to the smallest; None for a single one."""
    repeats: dict[int, list[float]] = {}
    for entry in record.rounds:
        samples = entry["samples_us"] or [entry["summary"]["median"]] if entry["num_samples"] else []
        repeats.setdefault(entry["repeat"], []).extend(samples)
    medians = [stats.quantile(samples, 50) for samples in repeats.values() if samples]
    return round(max(medians) / min(medians) - 1, 4) if len(medians) > 1 else None


def _marks(record: Record, done: int, drift: stats.Drift | None, spread: float | None) -> list[str]:
    """Return what a reader must know before believing the figures."""
    marks = []
    if record.emulated:
        marks.append("emulated")
    if record.failure:
        marks.append(("partial: " if done else "failed: ") + record.failure["kind"])
    if record.emulated:
        return marks
    if drift and drift.is_throttled:
        marks.append("throttled")
    if (drift and abs(drift.relative) > record.max_drift) or (spread is not None and spread > record.max_drift):
        marks.append("not reproducible")
    heat = (record.state_after or {}).get("thermal_status")
    if heat not in (None, "none"):
        marks.append(f"hot ({heat})")
    if any(entry.get("is_steady") is False for entry in record.rounds):
        marks.append("warm-up not steady")
    if 0 < done < MIN_RUNS:
        marks.append(f"under {MIN_RUNS} runs")
    return marks


def append(folder: Path, plains: Sequence[dict]) -> None:
    """Append records to the results folder and make its Markdown table anew."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "results.jsonl", "a") as handle:
        for plain in plains:
            handle.write(json.dumps(plain) + "\n")
    text = markdown(load(folder))
    part = folder / "results.md.part"
    part.write_text(text)
    part.rename(folder / "results.md")


def load(folder: Path) -> list[dict]:
    """Return all records of a results folder as plain values.

    Raises:
        ValueError: If a line is no record.
    """
    path = folder / "results.jsonl"
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1) if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as e:
            raise ValueError(f"{path} line {number} is not a record; repair or remove it") from e
    return found


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
        _output(plain),
        ", ".join(found["marks"]) or "-",
    ]


def _output(plain: dict) -> str:
    """Say how the output compares with this machine's own."""
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
    if not all(p["emulated"] for p in plains):
        said.append(PREPROCESSING + " Intervals are 95%, by block bootstrap; none where the samples are too few.")
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
    """Write the table as CSV, numbers bare."""
    import csv

    names = ["p50", "p90", "p99", "p95", "first_ms", "cold_start_ms", "drift", "num_samples"]
    part = path.with_name(path.name + ".part")
    with open(part, "w", newline="") as handle:
        writer = csv.writer(handle)
        what = ["device", "device_model", "soc", "system", "model", "model_sha256", "runner", "threads", "cores"]
        writer.writerow([*what, "emulated", *names, "peak_kb", "output_sha256", "complete", "failure", "marks"])
        for p in plains:
            device, found = p["device"], p["figures"]
            place = [p["device_name"], *(device.get(key) for key in ("model", "soc", "system"))]
            what = [p["model"], p["model_sha256"], p["runner"].get("name"), p["threads"], p["cores"], p["emulated"]]
            rest = [p["peak_kb"], p["output_sha256"], p["is_complete"], (p["failure"] or {}).get("message")]
            writer.writerow([*place, *what, *(found.get(name) for name in names), *rest, "; ".join(found["marks"])])
    part.rename(path)
