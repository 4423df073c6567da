"""Confusions, flips and reliability of answers that are known."""

from pathlib import Path

import numpy as np
import pytest

from calibration.dataset import Batch
from edge_vit.evaluation.details import MAX_CONFUSION_CLASSES, NUM_FLIPS, DetailsSums
from edge_vit.evaluation.paired import proportion_interval


def batch(labels, start=0):
    count = len(labels)
    pixels = np.zeros((count, 4, 4, 3), np.uint8)
    return Batch(pixels, np.asarray(labels), tuple(Path(f"{start + i}.png") for i in range(count)))


def test_known_answers():
    sums = DetailsSums(3)
    float_ = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.45, 0.55, 0.0]])
    here = np.array([[0.95, 0.05, 0.0], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.65, 0.35, 0.0]])
    sums.add(batch([0, 1, 2, 0]), float_, here)
    found = sums.result()
    assert found.confusion == ((2, 0, 0), (1, 0, 0), (0, 1, 0))
    assert [(c.true, c.taken_for, c.float_count, c.count) for c in found.confused] == [(1, 0, 0, 1), (2, 1, 0, 1)]
    assert [(f.path, f.direction) for f in found.flips] == [("2.png", "lost"), ("1.png", "lost"), ("3.png", "won")]
    assert set(sums.pixels) == {"1.png", "2.png", "3.png"}
    bins = [(b.low, b.num_images, b.right) for b in found.reliability.bins if b.num_images]
    assert bins == [(0.6, 2, 0.5), (0.8, 1, 0.0), (0.9, 1, 1.0)]
    assert found.reliability.error == pytest.approx((abs(0.6 + 0.65 - 1) + 0.8 + 0.05) / 4)


def test_the_surest_flips_stay_and_no_other_picture_is_kept():
    sums = DetailsSums(2)
    sure = np.linspace(0.51, 0.99, 3 * NUM_FLIPS)
    right, wrong = np.stack([sure, 1 - sure], -1), np.stack([1 - sure, sure], -1)
    for start in (0, NUM_FLIPS, 2 * NUM_FLIPS):
        part = slice(start, start + NUM_FLIPS)
        sums.add(batch([0] * NUM_FLIPS, start), right[part], wrong[part])
    flips = sums.result().flips
    assert [flip.path for flip in flips] == [f"{i}.png" for i in reversed(range(2 * NUM_FLIPS, 3 * NUM_FLIPS))]
    assert set(sums.pixels) == {flip.path for flip in flips}


def test_many_classes_have_no_matrix():
    sums = DetailsSums(MAX_CONFUSION_CLASSES + 1)
    shares = np.eye(MAX_CONFUSION_CLASSES + 1)[:2]
    sums.add(batch([1, 1]), shares, shares)
    found = sums.result()
    assert found.confusion is None and [(c.true, c.taken_for) for c in found.confused] == [(1, 0)]


def test_the_interval_of_a_proportion():
    assert proportion_interval(8, 10) == pytest.approx((49.02, 94.33), abs=0.01)  # Wilson's, from the literature
    low, high = proportion_interval(10, 10)
    assert high == pytest.approx(100.0) and low == pytest.approx(72.25, abs=0.01)
