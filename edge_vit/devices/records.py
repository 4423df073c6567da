"""What a measurement leaves behind: a record and the figures derived from it."""

from dataclasses import asdict, dataclass, field

from edge_vit.devices import stats
from edge_vit.devices.runners import Output

MIN_RUNS = 50


@dataclass(slots=True, kw_only=True)
class Record:
    """One model on one machine. Times are microseconds, and absent when the machine is emulated.

    `temperatures` are pairs of seconds since the start and the battery's degrees Celsius, where an app read them.
    """

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
    temperatures: list[list[float]] = field(default_factory=list)
    peak_kb: float | None = None
    state_before: dict | None = None
    state_after: dict | None = None
    output_sha256: str | None = None
    output: bytes = b""
    output_equals_host: bool | None = None
    output_max_difference: float | None = None
    output_not_compared: str | None = None
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

    def values_us(self) -> list[float]:
        """Return what `values_us` gives of each round, in order."""
        return [us for entry in self.rounds for us in values_us(entry)]

    def as_dict(self) -> dict:
        """Return the record with its derived figures as plain values."""
        plain = {key: value for key, value in asdict(self).items() if key != "output"}
        plain["figures"] = figures(self)
        return plain


def values_us(entry: dict) -> list[float]:
    """Return a round's samples, or where the runner kept none its median; none where it told no median either."""
    samples, summary = entry.get("samples_us"), entry.get("summary", {})
    return samples or ([summary["median"]] if "median" in summary else [])


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
        medians = record.values_us()
        found["p50"], found["p50_interval"] = _ms(stats.quantile(medians, 50) if medians else None), None
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
        repeats.setdefault(entry["repeat"], []).extend(values_us(entry))
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
    if done and not record.values_us():
        marks.append("the runner told no median")
    if 0 < done < MIN_RUNS:
        marks.append(f"under {MIN_RUNS} runs")
    return marks
