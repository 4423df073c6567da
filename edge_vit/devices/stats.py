"""Latency statistics: quantiles with bootstrap intervals, drift within a run, ratio of two models."""

import itertools
import math
import statistics
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
_STUDENT_T = (12.7062, 4.3027, 3.1824, 2.7764)


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
    """Latency of one model over another's, with its interval; `low` and `high` are None where there is none."""

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


def ratio(rounds_a: Sequence[Sequence[float]], rounds_b: Sequence[Sequence[float]]) -> Ratio:
    """Return the latency of A over that of B, measured in alternating rounds.

    A round gives one ratio, that of its two medians: what slows the machine down for both cancels. The value is the
    geometric mean of the rounds' ratios, the interval Student's t of their logarithms: samples within a round are
    alike, so only whole rounds count, and few of them make it wide. One round gives no interval; nor do rounds that
    agree to the last digit, for whoever measured them gave too few digits to tell.

    Raises:
        ValueError: If a round has no samples, or the two models have different numbers of rounds.
    """
    if len(rounds_a) != len(rounds_b) or not rounds_a or not all(rounds_a) or not all(rounds_b):
        raise ValueError("a ratio needs samples of both models in every round")
    logs = [math.log(quantile(a, 50) / quantile(b, 50)) for a, b in zip(rounds_a, rounds_b, strict=True)]
    mean = statistics.fmean(logs)
    low = high = None
    if len(logs) > 1 and (spread := statistics.stdev(logs)) > 1e-9:
        reach = student_t(len(logs) - 1) * spread / math.sqrt(len(logs))
        low, high = math.exp(mean - reach), math.exp(mean + reach)
    return Ratio(value=math.exp(mean), low=low, high=high)


def student_t(freedom: int) -> float:
    """Return how many standard errors a 95% interval reaches to each side with so many degrees of freedom.

    Up to four from tables, beyond by Fisher's expansion about the normal quantile, within 0.2%.
    """
    if freedom <= len(_STUDENT_T):
        return _STUDENT_T[freedom - 1]
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


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
