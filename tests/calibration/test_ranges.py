"""Ranges against brute force over the very values, and the integer grid against its definition."""

import numpy as np
import pytest
import torch

from calibration.ranges import RANGE_METHODS, RangeObserver, fake_quantize, scale_zero_point

RNG = np.random.default_rng(5)
SAMPLES = {
    "normal": RNG.normal(0.3, 1.0, 10_000),
    "heavy tails": RNG.standard_t(2.5, 10_000),
    "hardswish": (lambda x: x * np.clip(x + 3, 0, 6) / 6)(RNG.normal(0, 2.0, 10_000)),
    "positive with outlier": np.append(np.abs(RNG.normal(0, 1.0, 10_000)), 60.0),
    "negative": -np.abs(RNG.normal(0, 0.01, 10_000)),
}


def observed(values, **options) -> RangeObserver:
    observer = RangeObserver(**options)
    for part in np.array_split(values, 7):
        observer.observe(part)
    return observer


def error(values, low, high, symmetric=False) -> float:
    scale, zero_point = scale_zero_point(low, high, symmetric=symmetric)
    return float(np.mean((fake_quantize(values, scale, zero_point, symmetric=symmetric) - values) ** 2))


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_range_is_as_good_as_brute_force(name):
    values = SAMPLES[name].astype(np.float32)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    fractions = np.linspace(0.02, 1.0, 50)
    brute = min(error(values, low * a, high * b) for a in fractions for b in fractions)
    chosen = observed(values).mse()
    assert low <= chosen[0] <= 0.0 <= chosen[1] <= high
    assert error(values, *chosen) <= 1.03 * brute


@pytest.mark.parametrize("name", ["normal", "heavy tails"])
def test_symmetric_mse_range_is_as_good_as_brute_force(name):
    values = SAMPLES[name].astype(np.float32)
    largest = np.abs(values).max()
    brute = min(error(values, -largest * a, largest * a, True) for a in np.linspace(0.01, 1.0, 200))
    low, high = observed(values).mse(symmetric=True)
    assert low == -high and error(values, low, high, True) <= 1.02 * brute


def test_robust_range_gives_up_a_rare_outlier():
    values = np.append(np.abs(RNG.normal(0, 1.0, 400_000)), 12.0)
    observer = observed(values)
    assert observer.mse()[1] < 9 and error(values, *observer.mse()) < 0.7 * error(values, *observer.min_max())


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("name", ["normal", "heavy tails", "negative"])
def test_percentile_leaves_equal_shares_outside(name, percent):
    values = SAMPLES[name].astype(np.float32)
    low, high = observed(values).percentile(percent)
    outside = (100.0 - percent) / 200.0
    # Within a bin the histogram can only interpolate: a few values at each end may fall on the wrong side.
    assert abs(np.mean(values < low) - outside) < 0.0005 + outside / 10
    assert abs(np.mean(values > high) - outside) < 0.0005 + outside / 10


def test_order_and_container_do_not_matter():
    values = SAMPLES["heavy tails"].astype(np.float32)
    forward, backward = observed(values), observed(np.sort(values)[::-1])
    as_torch = RangeObserver()
    as_torch.observe(torch.tensor(values, requires_grad=True).reshape(100, -1))
    for method in RANGE_METHODS:
        assert forward.range(method) == backward.range(method) == as_torch.range(method)
    assert forward.count == as_torch.count == len(values)
    assert forward.min_max() == (values.min(), values.max())


def test_range_grows_by_many_powers_of_two():
    observer = RangeObserver(num_bins=64)
    observer.observe(np.zeros(1000))
    observer.observe(np.full(1000, 1e-6))
    observer.observe(np.array([-5e4, 1e5]))
    assert observer.min_max() == (-5e4, 1e5) and observer.count == 2002
    low, high = observer.percentile(99.0)
    assert 0 <= low <= high <= 4096  # One of the 64 merged bins holds nearly all values.


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_constant_activation_has_a_usable_range(value):
    observer = RangeObserver()
    observer.observe(np.full((2, 3), value))
    for method in RANGE_METHODS:
        scale, zero_point = scale_zero_point(*observer.range(method))
        assert scale > 0 and abs(float(fake_quantize(np.array(value), scale, zero_point)) - value) < 0.03


def test_integer_grid_holds_zero_and_reaches_both_ends():
    low, high = np.array([-1.0, 0.5, -3.0, -0.013]), np.array([2.0, 4.0, -1.0, 7.9])
    scale, zero_point = scale_zero_point(low, high)
    assert scale.dtype == np.float32 and zero_point.dtype == np.int32
    assert fake_quantize(np.zeros(4), scale, zero_point).tolist() == [0.0] * 4
    ends = np.stack([np.minimum(low, 0), np.maximum(high, 0)])
    assert np.all(np.abs(fake_quantize(ends, scale, zero_point) - ends) <= 0.5001 * scale)
    assert zero_point.tolist() == [-43, -128, 127, -128]


def test_symmetric_grid_is_narrow():
    scale, zero_point = scale_zero_point([-2.54, -1.0], [1.0, 1.27], symmetric=True)
    np.testing.assert_allclose(scale, [0.02, 0.01], rtol=1e-6)
    assert zero_point.tolist() == [0, 0]
    values = np.array([-9.0, 9.0])
    np.testing.assert_allclose(fake_quantize(values, 0.02, 0, symmetric=True), [-2.54, 2.54])
    assert scale_zero_point(-7.0, 7.0, symmetric=True, num_bits=4)[0] == 1.0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no values were observed"):
        RangeObserver().min_max()
    with pytest.raises(ValueError, match="an activation is not finite"):
        RangeObserver().observe(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="an activation is not finite"):
        RangeObserver().observe(np.array([1.0, np.inf]))
    with pytest.raises(ValueError, match="num_bins 3 is not allowed"):
        RangeObserver(num_bins=3)
    observer = observed(SAMPLES["normal"])
    with pytest.raises(ValueError, match="percent 50 is not allowed"):
        observer.percentile(50)
    with pytest.raises(
        ValueError, match="range method 'max' is unknown; choose from min_max, percentile, mse, entropy"
    ):
        observer.range("max")
    with pytest.raises(ValueError, match=r"range 2.0 to 1.0 is not allowed; give finite bounds"):
        scale_zero_point(2.0, 1.0)
    with pytest.raises(ValueError, match="num_bits 1 is not allowed"):
        scale_zero_point(0.0, 1.0, num_bits=1)


def test_nothing_observed_from_an_empty_tensor():
    observer = RangeObserver()
    observer.observe(np.zeros((0, 3)))
    assert observer.count == 0


def test_entropy_leaves_out_what_is_rare_and_far():
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 100_000), [60.0]])
    low, high = observed(values).entropy()
    assert -6.0 < low < -1.0 and 2.0 < high < 20.0
    assert observed(values).range("entropy") == (low, high)
    assert observed(values).entropy(symmetric=True)[0] == -observed(values).entropy(symmetric=True)[1]


def test_entropy_keeps_all_of_what_is_spread_evenly():
    values = np.linspace(-1.0, 3.0, 50_000)
    low, high = observed(values).entropy()
    assert low == pytest.approx(-1.0, abs=0.05) and high == pytest.approx(3.0, abs=0.05)
