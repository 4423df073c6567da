"""The statistics of the gate against brute force, known values and simulation."""

import dataclasses
import math

import numpy as np
import pytest

from converters.sqnr import sqnr_db
from edge_vit.evaluation.paired import (
    ONE_SIDED_95,
    PairedSums,
    compare,
    drop_interval,
    drop_upper_bound,
    images_needed,
    judge,
    margins,
    mcnemar_p,
)


def made(losses: int, gains: int, num: int):
    """Two classes; float is right on all but the gains, the artefact wrong on the losses."""
    labels = np.zeros(num, np.int64)
    right, wrong = np.array([2.0, 1.0], np.float32), np.array([1.0, 2.0], np.float32)
    float_logits, logits = np.tile(right, (num, 1)), np.tile(right, (num, 1))
    logits[:losses] = wrong
    float_logits[losses : losses + gains] = wrong
    return compare(float_logits, logits, labels)


@pytest.mark.parametrize(
    "losses, gains, num, outcome",
    [
        (0, 0, 2000, "pass"),
        (12, 8, 2000, "pass"),
        (22, 18, 2000, "pass"),
        (25, 15, 2000, "too_few_images"),  # Exactly at the limit, with many flips.
        (21, 10, 2000, "over_limit"),
        (0, 0, 50, "too_few_images"),
        (0, 0, 267, "too_few_images"),
        (0, 0, 269, "pass"),
        (1, 0, 50, "over_limit"),
        (60, 20, 2000, "over_limit"),
    ],
)
def test_gate_at_half_a_point(losses, gains, num, outcome):
    verdict = judge(made(losses, gains, num), 0.5)
    assert verdict.outcome == outcome
    assert (verdict.images_needed is not None) == (outcome == "too_few_images")


def test_needed_images_are_the_fewest_that_pass():
    needed = judge(made(0, 0, 50), 0.5).images_needed
    assert needed == 268 == images_needed(0, 0, 50, 0.5)
    needed = images_needed(2, 2, 300, 0.5)
    assert 100 * drop_upper_bound(2 * needed / 300, 2 * needed / 300, needed) <= 1.0
    assert 100 * drop_upper_bound(2 * (needed - 1) / 300, 2 * (needed - 1) / 300, needed - 1) > 1.0


def test_messages_say_why():
    assert judge(made(0, 0, 50), 0.5).message == (
        "too few images to tell: 50 cannot rule out a drop of 1 points (upper 95% bound 5.13); about 268 are needed"
    )
    assert "the drop of 2.00 points is over the limit of 0.5 (95% interval" in judge(made(40, 0, 2000), 0.5).message
    passed = judge(made(4, 4, 2000), 0.5).message
    assert passed.startswith("the drop of 0.00 points is within 0.5, and one of 1 is ruled out")


@pytest.mark.parametrize("limit", [0.0, -1.0, 100.0, math.nan])
def test_impossible_limits_are_refused(limit):
    with pytest.raises(ValueError, match=r"max-drop .* is not allowed; use points above 0 and below 100"):
        judge(made(0, 0, 50), limit)


def test_bound_without_flips_has_its_closed_form():
    for num in (10, 268, 5000):
        assert drop_upper_bound(0, 0, num) == pytest.approx(ONE_SIDED_95**2 / (num + ONE_SIDED_95**2), rel=1e-6)


@pytest.mark.parametrize("losing, gaining, num", [(0.02, 0.01, 500), (0.01, 0.0, 400), (0.05, 0.05, 200)])
def test_bound_covers_the_true_drop_in_95_of_100_draws(losing, gaining, num):
    draws = np.random.default_rng(1).multinomial(num, [losing, gaining, 1 - losing - gaining], 4000)
    bounds = {(b, c): drop_upper_bound(b, c, num) for b, c in {(int(b), int(c)) for b, c, _ in draws}}
    covered = np.mean([bounds[int(b), int(c)] >= losing - gaining for b, c, _ in draws])
    assert 0.93 <= covered <= 0.985


def test_interval_is_that_of_resampled_pictures_where_many_flip():
    flips = np.array([1] * 30 + [-1] * 12 + [0] * 958)
    rng = np.random.default_rng(2)
    means = [100 * rng.choice(flips, 1000).mean() for _ in range(4000)]
    assert drop_interval(30, 12, 1000) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.25)


def test_interval_is_no_point_where_nothing_flips():
    """18 pictures on which both agree do not prove a drop of nothing."""
    assert drop_interval(0, 0, 18) == pytest.approx((-17.59, 17.59), abs=0.01)
    assert drop_interval(1, 0, 18) == pytest.approx([-end for end in reversed(drop_interval(0, 1, 18))])


@pytest.mark.parametrize("losing, gaining, num", [(0.02, 0.01, 500), (0.01, 0.0, 400), (0.05, 0.05, 40)])
def test_interval_covers_the_true_drop_in_95_of_100_draws(losing, gaining, num):
    draws = np.random.default_rng(1).multinomial(num, [losing, gaining, 1 - losing - gaining], 4000)
    found = {(b, c): drop_interval(b, c, num) for b, c in {(int(b), int(c)) for b, c, _ in draws}}
    ends = [found[int(b), int(c)] for b, c, _ in draws]
    assert 0.93 <= np.mean([low <= 100 * (losing - gaining) <= high for low, high in ends]) <= 0.99


@pytest.mark.parametrize(
    "losses, gains, p", [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 2 / 64), (8, 2, 112 / 1024), (5, 5, 1.0), (2, 8, 112 / 1024)]
)
def test_mcnemar_is_exact(losses, gains, p):
    assert mcnemar_p(losses, gains) == pytest.approx(p)


def test_mcnemar_takes_large_counts():
    assert mcnemar_p(4000, 4000) == 1.0 and mcnemar_p(5000, 3000) < 1e-100


def test_figures_of_a_comparison():
    result = made(12, 4, 200)
    assert (result.losses, result.gains, result.num_images) == (12, 4, 200)
    assert (result.float_top1, result.artefact_top1) == pytest.approx((98.0, 94.0))
    assert result.drop_points == pytest.approx(4.0) and result.agreement == pytest.approx(0.92)
    assert result.interval_points[0] < 4.0 < result.interval_points[1]
    assert result.float_margin == pytest.approx(1 - 2 * 4 / 200)
    assert result.margin_change == pytest.approx(-2 * 8 / 200)


def test_margin_is_to_the_best_other_class():
    logits = np.array([[3.0, 1.0, 2.5], [0.0, 4.0, 5.0]], np.float32)
    assert margins(logits, np.array([0, 0])).tolist() == [0.5, -5.0]


def test_arrays_that_do_not_fit_are_refused():
    logits = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="do not belong together"):
        compare(logits, logits[:2], np.zeros(3, int))
    with pytest.raises(ValueError, match="do not belong together"):
        compare(logits[:0], logits[:0], np.zeros(0, int))
    with pytest.raises(ValueError, match="logits are not finite"):
        compare(logits, logits * np.nan, np.zeros(3, int))


def test_sums_over_batches_equal_one_comparison():
    rng = np.random.default_rng(0)
    floats = rng.normal(size=(500, 7))
    logits, labels = floats + rng.normal(size=floats.shape) * 0.5, rng.integers(0, 7, 500)
    sums = PairedSums(7)
    for start in range(0, 500, 33):
        part = slice(start, start + 33)
        sums.add(floats[part], logits[part], labels[part])
    whole, parts = compare(floats, logits, labels), sums.result()
    for field in dataclasses.fields(whole):
        assert getattr(parts, field.name) == pytest.approx(getattr(whole, field.name), rel=1e-12), field.name
    assert whole.sqnr_db == pytest.approx(sqnr_db(floats, logits), rel=1e-12)
    right = floats.argmax(1) == labels
    assert sums.images.tolist() == np.bincount(labels, minlength=7).tolist()
    assert sums.float_right.tolist() == np.bincount(labels[right], minlength=7).tolist()
    assert (sums.float_right - sums.losses + sums.gains).tolist() == sums.right.tolist()
