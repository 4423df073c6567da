"""Edits of onnx2tf's file, on flatbuffers made here: the function stays, the grids are those that were given."""

import numpy as np
import pytest

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs edge_vit[tflite]")

from small_tflite import build, run  # noqa: E402

from converters.onnx2tf.export import values_key  # noqa: E402
from converters.onnx2tf.integers import finish_onnx2tf  # noqa: E402
from converters.tflite.inspect import inspect  # noqa: E402

pytestmark = pytest.mark.needs_tflite
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(8, 6)).astype(np.float32)
BIAS = RNG.normal(size=6).astype(np.float32)
INPUT = RNG.uniform(-1, 1, size=(1, 4, 8)).astype(np.float32)
SCALES = (np.abs(MATRIX).max(0) / 127).astype(np.float32)
ON_GRID = np.round(MATRIX / SCALES).astype(np.float32) * SCALES
IN, OUT = (2 / 255, 0), (0.03, -128)


def linear(matrix=MATRIX, adjoint=False):
    options = schema.BatchMatMulOptionsT()
    options.adjY = adjoint
    tensors = {"x": (1, 4, 8), "w": matrix, "b": BIAS, "product": (1, 4, 6), "sum": (1, 4, 6), "y": (1, 4, 6)}
    operators = [
        ("BATCH_MATMUL", ["x", "w"], ["product"], options),
        ("ADD", ["product", "b"], ["sum"], schema.AddOptionsT()),
        ("RELU", ["sum"], ["y"], None),
    ]
    return build(tensors, operators)


def written(flatbuffer, tmp_path):
    (tmp_path / "m.tflite").write_bytes(flatbuffer)
    return inspect(tmp_path / "m.tflite")


@pytest.mark.parametrize("adjoint", [False, True])
def test_matmul_addition_and_relu_become_one_linear_layer(tmp_path, adjoint):
    matrix = np.ascontiguousarray(MATRIX.T) if adjoint else MATRIX
    finished = finish_onnx2tf(linear(matrix, adjoint), {}, {})
    assert [op.type for op in written(finished, tmp_path).operators] == ["FULLY_CONNECTED"]
    np.testing.assert_allclose(run(finished, INPUT), np.maximum(INPUT @ MATRIX + BIAS, 0), rtol=1e-5, atol=1e-6)


def test_product_that_is_read_twice_keeps_its_addition(tmp_path):
    tensors = {"x": (1, 4, 8), "w": MATRIX, "b": BIAS, "product": (1, 4, 6), "sum": (1, 4, 6), "y": (1, 4, 6)}
    operators = [
        ("BATCH_MATMUL", ["x", "w"], ["product"], schema.BatchMatMulOptionsT()),
        ("ADD", ["product", "b"], ["sum"], schema.AddOptionsT()),
        ("MUL", ["product", "sum"], ["y"], schema.MulOptionsT()),
    ]
    finished = finish_onnx2tf(build(tensors, operators), {}, {})
    assert [op.type for op in written(finished, tmp_path).operators] == ["FULLY_CONNECTED", "ADD", "MUL"]
    product = INPUT @ MATRIX
    np.testing.assert_allclose(run(finished, INPUT), product * (product + BIAS), rtol=1e-5, atol=1e-5)


def test_int8_layer_has_the_given_grids_and_computes_on_them(tmp_path):
    flatbuffer = linear(ON_GRID)
    finished = finish_onnx2tf(flatbuffer, {"x": IN, "y": OUT}, {values_key(ON_GRID.T): SCALES})
    inspection = written(finished, tmp_path)
    (layer,) = inspection.operators
    x, weight, bias = (inspection.tensors[i] for i in layer.inputs)
    y = inspection.tensors[layer.outputs[0]]
    assert (layer.type, layer.precision) == ("FULLY_CONNECTED", "int8")
    for tensor, (scale, zero_point) in ((x, IN), (y, OUT)):
        assert (tensor.scales, tensor.zero_points) == ((np.float32(scale),), (zero_point,))
    assert weight.scales == tuple(SCALES.tolist()) and weight.axis == 0 and bias.dtype == "int32"
    assert bias.scales == tuple((np.float32(IN[0]) * SCALES).tolist())
    integers = np.round(INPUT / IN[0]).astype(np.int8)
    exact = np.maximum(integers * np.float32(IN[0]) @ ON_GRID + BIAS, 0)
    expected = np.clip(np.round(exact / OUT[0]) + OUT[1], -128, 127)
    assert np.abs(run(finished, integers) - expected).max() <= 1


def test_softmax_stays_float_between_integers_and_grids_follow_moves(tmp_path):
    shape = np.array([4, 8], np.int32)
    tensors = {"x": (1, 4, 8), "shape": shape, "flat": (4, 8), "y": (4, 8)}
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    operators = [("RESHAPE", ["x", "shape"], ["flat"], None), ("SOFTMAX", ["flat"], ["y"], softmax)]
    finished = finish_onnx2tf(build(tensors, operators), {"x": IN, "y": (0.002, -128)}, {})
    found = [(op.type, op.precision) for op in written(finished, tmp_path).operators]
    assert found == [("RESHAPE", "int8"), ("DEQUANTIZE", "boundary"), ("SOFTMAX", "float32"), ("QUANTIZE", "boundary")]
    integers = np.round(INPUT / IN[0]).astype(np.int8)
    powers = np.exp(integers[0].astype(np.float32) * np.float32(IN[0]))
    expected = np.clip(np.round(powers / powers.sum(-1, keepdims=True) / 0.002) - 128, -128, 127)
    assert np.abs(run(finished, integers) - expected).max() <= 1


def test_lost_weight_and_meeting_grids_are_refused():
    with pytest.raises(ValueError, match="lacks 1 of 1 quantized weights"):
        finish_onnx2tf(linear(), {"x": IN, "y": OUT}, {values_key(ON_GRID): SCALES})
    tensors = {"x": (1, 4, 8), "shape": np.array([4, 8], np.int32), "y": (4, 8)}
    moved = build(tensors, [("RESHAPE", ["x", "shape"], ["y"], None)])
    with pytest.raises(ValueError, match="values move from one grid to another at y"):
        finish_onnx2tf(moved, {"x": IN, "y": OUT}, {})


def test_replaced_constants_leave_the_file():
    matrix = np.tile(MATRIX, (1, 1))
    size = len(finish_onnx2tf(linear(np.ascontiguousarray(matrix)), {}, {}))
    tensors = {"x": (1, 4, 512), "w": RNG.normal(size=(512, 64)).astype(np.float32), "y": (1, 4, 64)}
    large = build(tensors, [("BATCH_MATMUL", ["x", "w"], ["y"], schema.BatchMatMulOptionsT())])
    assert size < 4000 and len(finish_onnx2tf(large, {}, {})) < 1.05 * len(large)
