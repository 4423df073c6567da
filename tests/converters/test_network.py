"""The network of a file: who reads whom, what it costs, which bytes it holds.

That every format holds the same network is in test_grids.py, where files of all formats are made.
"""

import numpy as np
import pytest
from small_tflite import T, build

from converters.network import gemm_multiply_adds, matmul_multiply_adds, read_network


@pytest.mark.needs_tflite
def test_a_tflite_file(tmp_path):
    pytest.importorskip("ai_edge_litert")
    weights, bias = np.ones((3, 4), np.float32), np.ones(3, np.float32)
    model = build(
        {"x": (2, 4), "w": weights, "b": bias, "y": (2, 3), "z": (2, 3), "s": (2, 3)},
        [
            ("FULLY_CONNECTED", ["x", "w", "b"], ["y"], None),
            ("FULLY_CONNECTED", ["x", "w", "b"], ["z"], None),
            ("ADD", ["y", "z"], ["s"], None),
        ],
    )
    (tmp_path / "a.tflite").write_bytes(model)
    first, second, add = read_network(tmp_path / "a.tflite")
    assert (first.kind, first.sources, first.shape, first.multiply_adds) == ("FULLY_CONNECTED", (), (2, 3), 24)
    assert (first.constant_bytes, second.constant_bytes) == (60, 0), "what is shared counts once"
    assert (add.sources, add.multiply_adds, add.precision) == ((0, 1), 0, "float32")


@pytest.mark.needs_tflite
def test_what_only_unpacks_weights_is_left_out(tmp_path):
    pytest.importorskip("ai_edge_litert")
    model = build(
        {"x": (1, 4), "w16": np.ones((3, 4), np.float16), "w": T((3, 4)), "y": (1, 3)},
        [("DEQUANTIZE", ["w16"], ["w"], None), ("FULLY_CONNECTED", ["x", "w", ""], ["y"], None)],
    )
    (tmp_path / "a.tflite").write_bytes(model)
    (found,) = read_network(tmp_path / "a.tflite")
    assert (found.kind, found.precision, found.constant_bytes, found.multiply_adds) == (
        "FULLY_CONNECTED",
        "fp16",
        24,
        12,
    )


def test_products_are_counted():
    assert gemm_multiply_adds((16, 3, 3, 8), (1, 5, 5, 16)) == 25 * 16 * 72
    assert gemm_multiply_adds((1, 3, 3, 8), (1, 5, 5, 8)) == 25 * 8 * 9
    assert gemm_multiply_adds((16, 8, 3, 3), (1, 16, 5, 5), 1) == 25 * 16 * 72
    assert matmul_multiply_adds((2, 5, 7), (2, 5, 3)) == 2 * 5 * 7 * 3


def test_other_files_are_refused(tmp_path):
    said = r"no reader of networks for '\.pt2'; known are \.tflite, \.pte, \.mlpackage, \.onnx"
    with pytest.raises(ValueError, match=said):
        read_network(tmp_path / "a.pt2")
    with pytest.raises(ValueError, match="no such file"):
        read_network(tmp_path / "a.tflite")
