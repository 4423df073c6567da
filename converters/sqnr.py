"""The signal-to-quantization-noise ratio: how far one set of numbers is from another, in decibels."""

import math

import numpy as np


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """Return the ratio of the energy of `reference` to that of its difference from `other`, in decibels.

    Infinite for equal arrays, minus infinite where there is noise and no signal, and NaN where a number is NaN.
    """
    exact = np.asarray(reference, np.float64)
    return ratio_db(float(np.square(exact).sum()), float(np.square(exact - other).sum()))


def ratio_db(signal: float, noise: float) -> float:
    """Return the ratio of two energies in decibels; infinite without noise, minus infinite without signal."""
    return 10.0 * math.log10(signal / noise) if noise and signal else (math.inf if not noise else -math.inf)


def require_sqnr(suffix: str, reference: np.ndarray, outputs: np.ndarray, min_db: float) -> None:
    """Refuse a written file whose outputs are too far from those of the graph it was made from.

    Raises:
        RuntimeError: If the ratio is below `min_db`, or no number.
    """
    found_db = sqnr_db(reference, outputs)
    if not found_db >= min_db:
        found = f"{found_db:.1f} dB, expected {min_db:.0f} or more"
        raise RuntimeError(f"the {suffix} does not compute its graph: {found}; nothing was kept")
