"""Latency statistics: quantiles with bootstrap intervals, drift within a run, ratio of two models."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

QUANTILES = (50, 90, 99)
RESAMPLES = 1000
CONFIDENCE = 0.95
# Consecutive latencies are alike (clock, cache, scheduler), so whole blocks are drawn; a plain bootstrap's interval
# is too narrow.
BLOCKS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile with its interval. `low` and `high` are None where the samples are too few to tell."""

    percent: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How latency moved within a run.

    `relative` is the last fifth's median over the first fifth's, less one; `is_throttled` is set where it rose and
    stayed up.
    """

    relative: float
    is_throttled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Median latency of one model over another's, with its interval."""

    value: float
    low: float | None
    high: float | None

    def as_dict(self) -> dict:
        """Return it as plain values, for a record."""
        return asdict(self)


def quantile(samples: Sequence[float], percent: float) -> float:
    """Return a quantile by linear interpolation between the neighbouring order statistics."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples to take a quantile of")
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def quantiles(samples: Sequence[float], seed: int = 0) -> list[Quantile]:
    """Return p50, p90 and p99 with their 95% intervals by a block bootstrap.

    An interval is given only where at least five samples lie beyond the quantile; below that resampling shows the
    sample's own maximum and nothing else.
    """
    import numpy as np

    points = [percent / 100 for percent in QUANTILES]
    drawn = np.array([np.quantile(sample, points) for sample in _resample(samples, seed)]).T
    found = []
    for i, percent in enumerate(QUANTILES):
        low = high = None
        if len(samples) * (100 - percent) / 100 >= 5:
            low, high = (float(v) for v in np.quantile(drawn[i], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
        found.append(Quantile(percent=percent, value=quantile(samples, percent), low=low, high=high))
    return found


def _resample(samples: Sequence[float], seed: int) -> Iterator["np.ndarray"]:
    """Draw RESAMPLES times whole blocks of consecutive samples with replacement, the ends joined."""
    import numpy as np

    values = np.asarray(samples, dtype=np.float64)
    size = max(1, len(values) // BLOCKS)
    number = math.ceil(len(values) / size)
    generator = np.random.default_rng(seed)
    joined = np.concatenate([values, values[:size]])
    blocks = np.lib.stride_tricks.sliding_window_view(joined, size)
    for _ in range(RESAMPLES):
        yield blocks[generator.integers(0, len(values), number)].reshape(-1)[: len(values)]


def drift(samples: Sequence[float]) -> Drift | None:
    """Return how latency moved within a run, None for under 25 samples.

    Throttled means: up by over 10% from the first fifth to the last, and each of the last two fifths above every one
    of the first two, which a single slow spell in the middle is not.
    """
    if len(samples) < 25:
        return None
    edges = [round(i * len(samples) / 5) for i in range(6)]
    medians = [quantile(samples[a:b], 50) for a, b in itertools.pairwise(edges)]
    relative = medians[4] / medians[0] - 1
    return Drift(relative=relative, is_throttled=relative > 0.10 and min(medians[3:]) > max(medians[:2]))


def ratio(rounds_a: Sequence[Sequence[float]], rounds_b: Sequence[Sequence[float]], seed: int = 0) -> Ratio:
    """Return the median latency of A over that of B, measured in alternating rounds.

    The interval draws whole rounds with replacement and samples within them, so that what changes between rounds
    counts. One round each gives no interval.
    """
    import numpy as np

    if not rounds_a or not rounds_b or not all(rounds_a) or not all(rounds_b):
        raise ValueError("a ratio needs samples of both models")
    pooled = [quantile([v for r in rounds for v in r], 50) for rounds in (rounds_a, rounds_b)]
    value = pooled[0] / pooled[1]
    pairs = min(len(rounds_a), len(rounds_b))
    if pairs < 2:
        return Ratio(value=value, low=None, high=None)
    generator = np.random.default_rng(seed)
    drawn = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        chosen = generator.integers(0, pairs, pairs)
        medians = []
        for rounds in (rounds_a, rounds_b):
            parts = [np.asarray(rounds[k], dtype=np.float64) for k in chosen]
            medians.append(np.median(np.concatenate([p[generator.integers(0, len(p), len(p))] for p in parts])))
        drawn[i] = medians[0] / medians[1]
    low, high = (float(v) for v in np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    return Ratio(value=value, low=low, high=high)


def curve(samples_us: Sequence[float], points: int = 60) -> list[tuple[float, float]]:
    """Return latency over time as (seconds since the start, median of that stretch), for the sustained plot."""
    if not samples_us:
        return []
    total = sum(samples_us)
    stretch = total / min(points, len(samples_us))
    made: list[tuple[float, float]] = []
    elapsed, begin, gathered = 0.0, 0.0, []
    for sample in samples_us:
        gathered.append(sample)
        elapsed += sample
        if elapsed - begin >= stretch * 0.999:
            made.append(((begin + elapsed) / 2e6, quantile(gathered, 50)))
            begin, gathered = elapsed, []
    if gathered:
        made.append(((begin + elapsed) / 2e6, quantile(gathered, 50)))
    return made
