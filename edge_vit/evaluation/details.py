"""What a comparison shows beyond its sums: which classes are confused, which pictures flip, whether shares are true."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calibration.dataset import Batch

NUM_BINS = 10
MAX_CONFUSION_CLASSES = 40
NUM_CONFUSED = 20
NUM_FLIPS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Pictures whose first class got a share within [low, high): how sure, and how often right, both 0 to 1."""

    low: float
    high: float
    num_images: int
    confidence: float | None
    right: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Bins of one model; `error` is the expected calibration error, 0 to 1: bins' gaps, weighted by their pictures."""

    bins: tuple[Bin, ...]
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confused:
    """How many pictures of one class each model takes for another."""

    true: int
    taken_for: int
    float_count: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A picture on which the two differ in being right; probabilities are those of the classes that each names."""

    path: str
    direction: Literal["lost", "won"]
    label: int
    float_class: int
    artefact_class: int
    float_probability: float
    artefact_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Everything; `confusion` counts pictures by true (rows) and named class, and is None beyond a number of classes.

    `flips` are the surest ones, at most `NUM_FLIPS` a direction; `PairedResult` has how many there are.
    """

    confusion: tuple[tuple[int, ...], ...] | None
    confused: tuple[Confused, ...]
    flips: tuple[Flip, ...]
    float_reliability: Reliability
    reliability: Reliability


class DetailsSums:
    """Gathers details batch by batch, in memory that grows with the classes alone.

    Attributes:
        pixels: Of the kept flips by path, (H, W, 3), uint8.
    """

    def __init__(self, num_classes: int) -> None:
        self._confusion = np.zeros((2, num_classes, num_classes), np.int64)  # float, artefact
        self._bins = np.zeros((2, NUM_BINS, 3))  # pictures, sum of confidences, right ones
        self._flips: dict[str, list[Flip]] = {"lost": [], "won": []}
        self.pixels: dict[str, np.ndarray] = {}

    def add(self, batch: Batch, float_shares: np.ndarray, artefact_shares: np.ndarray) -> None:
        """Add pictures: the probabilities that the float model and the artefact gave, both (B, classes)."""
        shares = float_shares, artefact_shares
        choices = [given.argmax(1) for given in shares]
        rows = np.arange(len(batch.labels))
        for i in range(2):
            np.add.at(self._confusion[i], (batch.labels, choices[i]), 1)
            confidence = shares[i][rows, choices[i]]
            places = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
            values = np.stack([np.ones(len(rows)), confidence, choices[i] == batch.labels], -1)
            np.add.at(self._bins[i], places, values)
        for k in np.flatnonzero((choices[0] == batch.labels) != (choices[1] == batch.labels)):
            self._add_flip(batch, int(k), [int(c[k]) for c in choices], [float(s[k].max()) for s in shares])

    def result(self) -> Details:
        """Return what was gathered."""
        confusion = self._confusion[1]
        return Details(
            confusion=tuple(map(tuple, confusion.tolist())) if len(confusion) <= MAX_CONFUSION_CLASSES else None,
            confused=self._confused(),
            flips=tuple(self._flips["lost"] + self._flips["won"]),
            float_reliability=_reliability(self._bins[0]),
            reliability=_reliability(self._bins[1]),
        )

    def _add_flip(self, batch: Batch, k: int, choices: Sequence[int], sure: Sequence[float]) -> None:
        label = int(batch.labels[k])
        direction: Literal["lost", "won"] = "lost" if choices[0] == label else "won"
        flip = Flip(
            path=str(batch.paths[k]),
            direction=direction,
            label=label,
            float_class=choices[0],
            artefact_class=choices[1],
            float_probability=sure[0],
            artefact_probability=sure[1],
        )
        self.pixels[flip.path] = batch.pixels[k]
        kept = sorted([*self._flips[direction], flip], key=lambda f: -min(f.float_probability, f.artefact_probability))
        for dropped in kept[NUM_FLIPS:]:
            del self.pixels[dropped.path]
        self._flips[direction] = kept[:NUM_FLIPS]

    def _confused(self) -> tuple[Confused, ...]:
        """Return the pairs of classes that the artefact confuses most."""
        wrong = self._confusion.copy()
        for counts in wrong:
            np.fill_diagonal(counts, 0)
        order = np.argsort(-wrong[1], axis=None, kind="stable")[:NUM_CONFUSED]
        pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong[1].shape), strict=True)]
        return tuple(
            Confused(true=i, taken_for=j, float_count=int(wrong[0, i, j]), count=int(wrong[1, i, j]))
            for i, j in pairs
            if wrong[1, i, j]
        )


def _reliability(sums: np.ndarray) -> Reliability:
    counts, confidences, right = sums.T
    bins = tuple(
        Bin(
            low=i / NUM_BINS,
            high=(i + 1) / NUM_BINS,
            num_images=int(counts[i]),
            confidence=float(confidences[i] / counts[i]) if counts[i] else None,
            right=float(right[i] / counts[i]) if counts[i] else None,
        )
        for i in range(len(sums))
    )
    return Reliability(bins=bins, error=float(np.abs(confidences - right).sum() / max(counts.sum(), 1)))
