"""Decibels at the corners: equal arrays, no signal, numbers that are none."""

import math

import numpy as np
import pytest

from converters.sqnr import ratio_db, require_sqnr, sqnr_db


def test_sqnr_in_decibels():
    signal = np.ones((4, 5), np.float32)
    assert sqnr_db(signal, signal * 1.1) == pytest.approx(20.0, abs=1e-4)
    assert sqnr_db(signal, signal) == math.inf and sqnr_db(0 * signal, signal) == -math.inf
    assert math.isnan(sqnr_db(signal, signal * np.nan))


def test_the_difference_is_taken_in_float64():
    large = np.float32(2**24)  # one more than this is not a float32 number
    assert sqnr_db(np.array([large]), np.array([2**24 + 1])) == pytest.approx(20 * math.log10(2**24))


def test_ratio_of_energies():
    assert ratio_db(100.0, 1.0) == pytest.approx(20.0)
    assert ratio_db(0.0, 0.0) == ratio_db(1.0, 0.0) == math.inf and ratio_db(0.0, 1.0) == -math.inf


def test_a_file_too_far_from_its_graph_is_refused():
    signal = np.ones(4, np.float32)
    require_sqnr(".pte", signal, signal * 1.05, 20.0)
    for outputs, shown in ((signal * 1.2, "14.0"), (signal * np.nan, "nan")):
        message = rf"the \.pte does not compute its graph: {shown} dB, expected 20 or more; nothing was kept"
        with pytest.raises(RuntimeError, match=message):
            require_sqnr(".pte", signal, outputs, 20.0)
