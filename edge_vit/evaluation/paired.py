"""Two classifiers on the same pictures: how much accuracy was lost, and whether the pictures suffice to say so.

Pictures on which both are right or both wrong say nothing about a drop; only the flips do. Losses are pictures that
float gets right and the artefact wrong, gains the reverse; the drop is (losses - gains) / pictures.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from converters.sqnr import ratio_db

ONE_SIDED_95 = 1.6448536269514722
TWO_SIDED_95 = 1.959963984540054

Outcome = Literal["pass", "over_limit", "too_few_images"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedResult:
    """Points are percentage points of top-1; margins are the true class's logit minus the best other one."""

    num_images: int
    float_top1: float
    artefact_top1: float
    losses: int
    gains: int
    drop_points: float
    interval_points: tuple[float, float]
    upper_points: float
    mcnemar_p: float
    agreement: float
    sqnr_db: float
    float_margin: float
    margin_change: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says. `images_needed` is null unless there are too few images."""

    outcome: Outcome
    max_drop: float
    images_needed: int | None
    message: str


class PairedSums:
    """Everything that a comparison needs of the pictures so far, in memory that does not grow with them.

    Attributes:
        images, float_right, right, losses, gains: Counts by true class, each (classes,).
    """

    def __init__(self, num_classes: int) -> None:
        self.images, self.float_right, self.right, self.losses, self.gains = np.zeros((5, num_classes), np.int64)
        self._same = 0
        self._signal = self._noise = self._float_margin = self._margin_change = 0.0

    def add(self, float_logits: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Add pictures: the float model's and the artefact's logits, both (N, classes), under labels (N,).

        Raises:
            ValueError: If the shapes do not belong together, or a logit is not finite.
        """
        if logits.shape != float_logits.shape or len(labels) != len(logits) or not len(labels):
            shapes = f"logits {logits.shape}, float {float_logits.shape}, {len(labels)} labels"
            raise ValueError(f"{shapes} do not belong together")
        if not (np.isfinite(logits).all() and np.isfinite(float_logits).all()):
            raise ValueError("logits are not finite; the artefact or its float model is broken")
        float_choice, choice = float_logits.argmax(1), logits.argmax(1)
        float_right, right = float_choice == labels, choice == labels
        for counts, chosen in (
            (self.images, slice(None)),
            (self.float_right, float_right),
            (self.right, right),
            (self.losses, float_right & ~right),
            (self.gains, right & ~float_right),
        ):
            np.add.at(counts, labels[chosen], 1)
        self._same += int((choice == float_choice).sum())
        exact = float_logits.astype(np.float64)
        self._signal += float(np.square(exact).sum())
        self._noise += float(np.square(exact - logits).sum())
        float_margins = margins(float_logits, labels)
        self._float_margin += float(float_margins.sum())
        self._margin_change += float((margins(logits, labels) - float_margins).sum())

    def result(self) -> PairedResult:
        """Compare.

        `interval_points` is the two-sided 95% score interval of the drop, `upper_points` the one-sided 95% score bound
        (`drop_upper_bound`), `mcnemar_p` the exact two-sided McNemar test of losses against gains.
        """
        num, losses, gains = (int(counts.sum()) for counts in (self.images, self.losses, self.gains))
        return PairedResult(
            num_images=num,
            float_top1=100.0 * float(self.float_right.sum() / num),
            artefact_top1=100.0 * float(self.right.sum() / num),
            losses=losses,
            gains=gains,
            drop_points=100.0 * (losses - gains) / num,
            interval_points=drop_interval(losses, gains, num),
            upper_points=100.0 * drop_upper_bound(losses, gains, num),
            mcnemar_p=mcnemar_p(losses, gains),
            agreement=self._same / num,
            sqnr_db=ratio_db(self._signal, self._noise),
            float_margin=self._float_margin / num,
            margin_change=self._margin_change / num,
        )


def compare(float_logits: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> PairedResult:
    """Compare an artefact's logits with the float model's, both (N, classes), under labels (N,); see `PairedSums`."""
    sums = PairedSums(logits.shape[-1])
    sums.add(float_logits, logits, labels)
    return sums.result()


def judge(result: PairedResult, max_drop: float) -> Verdict:
    """Decide whether the drop is within `max_drop` points.

    Over the limit: the measured drop is larger. Pass: it is not, and a drop of twice the limit is ruled out with 95%
    confidence. Otherwise there are too few images to tell, and `images_needed` says how many there would have to be if
    they flipped at the same rates.
    """
    check_max_drop(max_drop)
    drop, bar = result.drop_points, 2.0 * max_drop
    shown = f"upper 95% bound {result.upper_points:.2f}"
    if drop > max_drop:
        interval = "95% interval {:.2f} to {:.2f}".format(*result.interval_points)
        message = f"the drop of {drop:.2f} points is over the limit of {max_drop:g} ({interval})"
        return Verdict(outcome="over_limit", max_drop=max_drop, images_needed=None, message=message)
    if result.upper_points <= bar:
        message = f"the drop of {drop:.2f} points is within {max_drop:g}, and one of {bar:g} is ruled out ({shown})"
        return Verdict(outcome="pass", max_drop=max_drop, images_needed=None, message=message)
    needed = images_needed(result.losses, result.gains, result.num_images, max_drop)
    message = (
        f"too few images to tell: {result.num_images} cannot rule out a drop of {bar:g} points ({shown}); "
        f"about {needed} are needed"
    )
    return Verdict(outcome="too_few_images", max_drop=max_drop, images_needed=needed, message=message)


def check_max_drop(max_drop: float) -> None:
    """Refuse limits that no number of pictures can prove or that allow everything."""
    if not 0.0 < max_drop < 100.0:
        raise ValueError(f"max-drop {max_drop:g} is not allowed; use points above 0 and below 100, such as 0.5")


def images_needed(losses: float, gains: float, num: int, max_drop: float) -> int:
    """Return how many images would rule out twice `max_drop` if they flipped at the rates seen; more than `num`."""
    low, high = num, 2 * num
    while 100.0 * drop_upper_bound(losses * high / num, gains * high / num, high) > 2.0 * max_drop:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if 100.0 * drop_upper_bound(losses * middle / num, gains * middle / num, middle) > 2.0 * max_drop:
            low = middle
        else:
            high = middle
    return high


def drop_upper_bound(losses: float, gains: float, num: int, z: float = ONE_SIDED_95) -> float:
    """Return the upper score bound of the paired difference of proportions (T. Tango, Statistics in Medicine 17, 1998).

    Unlike a bootstrap's it does not collapse to a point when few or no pictures flip: without flips it is
    z^2 / (num + z^2).
    """
    low, high = (losses - gains) / num, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if _score(losses, gains, num, middle) < -z:
            high = middle
        else:
            low = middle
    return high


def _score(losses: float, gains: float, num: int, drop: float) -> float:
    """Standardised distance of the observed from an assumed `drop`, with the gain rate that fits best under it."""
    b = -losses - gains + (2 * num - losses + gains) * drop
    c = -gains * drop * (1.0 - drop)
    gain_rate = (math.sqrt(max(b * b - 8.0 * num * c, 0.0)) - b) / (4.0 * num)
    variance = num * (2.0 * gain_rate + drop * (1.0 - drop))
    distance = losses - gains - num * drop
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


def drop_interval(losses: int, gains: int, num: int) -> tuple[float, float]:
    """Return the two-sided 95% score interval of the drop, in points; see `drop_upper_bound`."""
    gained = drop_upper_bound(gains, losses, num, TWO_SIDED_95)
    return -100.0 * gained, 100.0 * drop_upper_bound(losses, gains, num, TWO_SIDED_95)


def proportion_interval(successes: int, num: int) -> tuple[float, float]:
    """Return the 95% score interval of a proportion (E. B. Wilson, JASA 22, 1927), in percent."""
    share, z2 = successes / num, TWO_SIDED_95**2
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = TWO_SIDED_95 * math.sqrt(share * (1 - share) / num + z2 / (4 * num**2)) / (1 + z2 / num)
    return 100.0 * (middle - half), 100.0 * (middle + half)


def mcnemar_p(losses: int, gains: int) -> float:
    """Return the exact two-sided probability of flips as uneven as these if both directions were equally likely."""
    flips = losses + gains
    term, tail = 1, 0
    for k in range(min(losses, gains) + 1):  # `term` is the binomial coefficient of `flips` over `k`.
        tail += term
        term = term * (flips - k) // (k + 1)
    return min(1.0, 2 * tail / 2**flips)


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the true class's logit minus the best other one, (N,)."""
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    others[rows, labels] = -np.inf
    return logits[rows, labels] - others.max(1)
