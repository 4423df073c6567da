"""Which range of an activation the integers should cover: a streaming histogram and four ways to choose from it."""

import math
from typing import Any, Literal, get_args

import numpy as np

RangeMethod = Literal["min_max", "percentile", "mse", "entropy"]
RANGE_METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)

# A range this narrow holds nothing but zeros for every practical purpose; its scale must still not be zero.
MIN_SCALE = 2.0**-40

_CANDIDATES = 32
_ROUNDS = 3
_CHUNK = 65_536  # Values binned at a time: the temporaries stay in the cache.


def scale_zero_point(
    low: Any, high: Any, *, symmetric: bool = False, num_bits: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and zero point with which signed integers cover `low` to `high` and hold zero exactly.

    Asymmetric ranges use all integers, -128..127 for 8 bits. Symmetric ones have zero point 0 and leave the lowest
    integer out, -127..127, so that a weight and its negative are equally exact.

    Args:
        low: Lowest value, a number or one a channel; above 0 counts as 0.
        high: Highest value, likewise; below 0 counts as 0.
        symmetric: Zero point 0.
        num_bits: 2 to 16.

    Returns:
        Scale (float32) and zero point (int32), of the shape of `low`.

    Raises:
        ValueError: If a bound is not finite or `low` is above `high`.
    """
    if not 2 <= num_bits <= 16:
        raise ValueError(f"num_bits {num_bits} is not allowed; use 2 to 16")
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ValueError(f"range {low} to {high} is not allowed; give finite bounds with low <= high")
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    if symmetric:
        scale = np.maximum(np.maximum(-low, high) / quant_max, MIN_SCALE)
        return scale.astype(np.float32), np.zeros(scale.shape, np.int32)
    scale = np.maximum((high - low) / (quant_max - quant_min), MIN_SCALE)
    zero_point = np.clip(np.round(quant_min - low / scale), quant_min, quant_max)
    return scale.astype(np.float32), zero_point.astype(np.int32)


def fake_quantize(
    values: np.ndarray, scale: Any, zero_point: Any, *, symmetric: bool = False, num_bits: int = 8
) -> np.ndarray:
    """Round `values` to the integer grid and back; float64. `scale` and `zero_point` broadcast against `values`."""
    quant_max = 2 ** (num_bits - 1) - 1
    quant_min = -quant_max if symmetric else -quant_max - 1
    steps = np.asarray(scale, np.float64)
    return (np.clip(np.round(values / steps) + zero_point, quant_min, quant_max) - zero_point) * steps


class RangeObserver:
    """Count the values of one activation over a whole calibration set.

    Bins have a width that is a power of two and edges at its multiples. When a batch exceeds them the width doubles and
    neighbours merge exactly, so the order of the batches does not matter.
    """

    def __init__(self, *, num_bins: int = 4096) -> None:
        if num_bins < 16:
            raise ValueError(f"num_bins {num_bins} is not allowed; use 16 or more")
        self.num_bins = num_bins
        self.count = 0
        self.low, self.high = math.inf, -math.inf
        self._exponent = 0  # Bins are 2**exponent wide.
        self._first = 0  # Bin i covers (first + i) * width up to (first + i + 1) * width.
        self._counts = np.zeros(0, np.int64)

    def observe(self, values: Any) -> None:
        """Add a tensor (torch or numpy, any shape).

        Raises:
            ValueError: If it holds a value that is not finite.
        """
        if hasattr(values, "detach"):
            values = values.detach().cpu().float().numpy()
        flat = np.asarray(values, np.float32).ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("an activation is not finite; the model or its input is broken, no range can be chosen")
        if not self.count:
            self._exponent = _start_exponent(low, high, self.num_bins)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += flat.size
        self._widen()
        per_width = np.float32(2.0**-self._exponent)
        for start in range(0, flat.size, _CHUNK):
            bins = np.floor(flat[start : start + _CHUNK] * per_width).astype(np.int64)
            bins -= self._first
            self._counts += np.bincount(bins, minlength=len(self._counts))

    def range(self, method: RangeMethod, *, symmetric: bool = False, num_bits: int = 8) -> tuple[float, float]:
        """Choose a range by the method's name."""
        if method not in RANGE_METHODS:
            raise ValueError(f"range method '{method}' is unknown; choose from {', '.join(RANGE_METHODS)}")
        if method == "mse":
            return self.mse(symmetric=symmetric, num_bits=num_bits)
        if method == "entropy":
            return self.entropy(symmetric=symmetric, num_bits=num_bits)
        return self.min_max() if method == "min_max" else self.percentile()

    def min_max(self) -> tuple[float, float]:
        """Return the lowest and the highest value seen."""
        if not self.count:
            raise ValueError("no values were observed; run calibration pictures through the model first")
        return self.low, self.high

    def percentile(self, percent: float = 99.99) -> tuple[float, float]:
        """Return the range that leaves out equal shares of the values at both ends, `percent` of them inside."""
        if not 50.0 < percent <= 100.0:
            raise ValueError(f"percent {percent} is not allowed; use more than 50 and at most 100")
        low, high = self.min_max()
        outside = (1.0 - percent / 100.0) / 2.0 * self.count
        width = 2.0**self._exponent
        edges = (self._first + np.arange(len(self._counts) + 1)) * width
        below = np.concatenate([[0], np.cumsum(self._counts)])
        cut = np.interp([outside, self.count - outside], below, edges)
        cut = np.clip(cut, low, high)
        return float(cut[0]), float(cut[1])

    def mse(self, *, symmetric: bool = False, num_bits: int = 8) -> tuple[float, float]:
        """Return the range whose quantization has the least mean squared error over the histogram.

        Both ends are first shrunk together, then each in turn, coarsely and then finely around the best.
        """
        low, high = self.min_max()
        low, high = min(low, 0.0), max(high, 0.0)
        used = np.flatnonzero(self._counts)
        values = np.clip((self._first + used + 0.5) * 2.0**self._exponent, self.low, self.high)
        shares = self._counts[used] / self.count
        if symmetric:
            low, high = -max(-low, high), max(-low, high)

        def best(lows: np.ndarray, highs: np.ndarray) -> tuple[float, float]:
            scale, zero_point = scale_zero_point(lows, highs, symmetric=symmetric, num_bits=num_bits)
            rounded = fake_quantize(values, scale[:, None], zero_point[:, None], symmetric=symmetric, num_bits=num_bits)
            index = int(np.argmin(((rounded - values) ** 2) @ shares))
            return float(lows[index]), float(highs[index])

        fractions = np.arange(1, _CANDIDATES + 1) / _CANDIDATES
        chosen = best(low * fractions, high * fractions)
        fine = np.linspace(-1.0, 1.0, _CANDIDATES + 1) / _CANDIDATES
        if symmetric:
            near = np.clip(chosen[1] + fine * high, high / _CANDIDATES**2, high)
            return best(-near, near)
        for step in range(_ROUNDS):
            for end, full in ((1, high), (0, low)):
                tried = full * fractions if step == 0 else chosen[end] + full * fine / 2**step
                tried = np.clip(np.append(tried, chosen[end]), min(full, 0.0), max(full, 0.0))
                still = np.full_like(tried, chosen[1 - end])
                chosen = best(still, tried) if end else best(tried, still)
        return chosen

    def entropy(self, *, symmetric: bool = False, num_bits: int = 8) -> tuple[float, float]:
        """Return the range whose integers tell most of the distribution: least Kullback-Leibler divergence.

        One end is shrunk, then the other; of a symmetric range both. What a range clips counts at its ends; what an
        integer stands for is spread over the bins that it covers (S. Migacz, 8-bit inference with TensorRT, 2017).
        """
        low, high = self.min_max()
        low, high = min(low, 0.0), max(high, 0.0)
        fractions = np.arange(1, _CANDIDATES + 1) / _CANDIDATES
        if symmetric:
            largest = max(-low, high)
            ends = [(-largest * f, largest * f) for f in fractions]
            return min(ends, key=lambda pair: self._divergence(pair, True, num_bits))
        first = min(((low, high * f) for f in fractions), key=lambda pair: self._divergence(pair, False, num_bits))
        ends = [(low * f, first[1]) for f in fractions]
        return min(ends, key=lambda pair: self._divergence(pair, False, num_bits))

    def _divergence(self, ends: tuple[float, float], symmetric: bool, num_bits: int) -> float:
        """Return how much of the distribution the integers of a range do not tell; infinite where they tell nothing."""
        used = np.flatnonzero(self._counts)
        values = np.clip((self._first + used + 0.5) * 2.0**self._exponent, self.low, self.high)
        counts = self._counts[used].astype(np.float64)
        inside = (values >= ends[0]) & (values <= ends[1])
        if not inside.any():
            return math.inf
        scale, zero_point = scale_zero_point(*ends, symmetric=symmetric, num_bits=num_bits)
        shown = counts[inside]
        integers = np.round(values[inside] / float(scale)).astype(np.int64) + int(zero_point)
        cells = integers - integers.min()
        told = (np.bincount(cells, shown) / np.maximum(np.bincount(cells), 1))[cells]
        shown[0] += counts[values < ends[0]].sum()
        shown[-1] += counts[values > ends[1]].sum()
        p, q = shown / shown.sum(), told / told.sum()
        return float((p * np.log(p / q)).sum())

    def _widen(self) -> None:
        """Make the bins reach from `low` to `high`, merging neighbours until they fit into `num_bins`."""
        exponent = self._exponent
        first, last = _bins(self.low, self.high, exponent)
        while last - first >= self.num_bins:
            exponent += 1
            first, last = _bins(self.low, self.high, exponent)
        counts = np.zeros(last - first + 1, np.int64)
        if len(self._counts):
            old = (self._first + np.arange(len(self._counts))) >> min(exponent - self._exponent, 62)
            np.add.at(counts, old - first, self._counts)
        self._counts, self._first, self._exponent = counts, first, exponent


def _start_exponent(low: float, high: float, num_bins: int) -> int:
    """Smallest width that can be right; a constant batch gets bins far finer than its value."""
    span = high - low or max(abs(high), 1.0) * 2.0**-24 * num_bins
    return max(math.floor(math.log2(span / num_bins)), -100)


def _bins(low: float, high: float, exponent: int) -> tuple[int, int]:
    return math.floor(low * 2.0**-exponent), math.floor(high * 2.0**-exponent)
