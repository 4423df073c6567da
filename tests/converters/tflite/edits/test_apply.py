"""All edits in a row, on a graph that needs each of them."""

import numpy as np
import pytest
from small_tflite import T, build, run

from converters.tflite.edits.apply import edit_model

PIXELS, SWAP = (1.0, -128), np.array([0, 2, 1], np.int32)
BIAS = (np.arange(1024, dtype=np.float32).reshape(1, 32, 32) % 7) - 3


def attention(schema):
    """Scores of pixels with themselves, a float bias, and a ReLU; int8 but for the addition."""
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    tensors = {
        "x": T((1, 32, 32), "int8", PIXELS), "swap": SWAP, "turned": T((1, 32, 32), "int8", PIXELS),
        "flat_shape": np.array([32, 32], np.int32), "flat": T((32, 32), "int8", PIXELS),
        "scores": T((1, 32, 32), "int8", (16384.0, -128)), "real": (1, 32, 32), "bias": BIAS, "sum": (1, 32, 32),
        "again": T((1, 32, 32), "int8", (16384.0, -128)), "y": T((1, 32, 32), "int8", (16384.0, -128)),
    }  # fmt: skip
    operators = [
        ("TRANSPOSE", ["x", "swap"], ["turned"], None),
        ("RESHAPE", ["turned", "flat_shape"], ["flat"], None),
        ("FULLY_CONNECTED", ["x", "flat"], ["scores"], options),
        ("DEQUANTIZE", ["scores"], ["real"], None),
        ("ADD", ["real", "bias"], ["sum"], schema.AddOptionsT()),
        ("QUANTIZE", ["sum"], ["again"], None),
        ("RELU", ["again"], ["y"], None),
    ]
    return build(tensors, operators)


def test_all_edits_at_once(schema, read):
    flatbuffer = attention(schema)
    before = bytes(bytearray(flatbuffer))
    edited = edit_model(flatbuffer, stored_constants="int8")
    assert flatbuffer == before and edited == edit_model(flatbuffer, stored_constants="int8")
    model = read(edited)
    assert [op.kind for op in model.operators] == [
        "DEQUANTIZE", "DEQUANTIZE", "QUANTIZE", "TRANSPOSE", "RESHAPE", "BATCH_MATMUL", "DEQUANTIZE", "ADD", "QUANTIZE",
        "ADD", "DEQUANTIZE",
    ]  # fmt: skip
    assert (model.input_tensors[0].dtype, model.output_tensors[0].dtype) == ("uint8", "float32")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32)).astype(np.uint8)
    exact = pixels[0].astype(float) @ pixels[0]
    assert np.abs(run(edited, pixels)[0] - np.clip(exact, 0, 16384 * 255)).max() <= 16384


def test_constants_stay_large_without_being_asked(schema, read):
    model = read(edit_model(attention(schema), stored_constants=None))
    assert "float32" in {model.tensors[i].dtype for op in model.operators for i in op.inputs if
                         op.kind == "ADD" and model.tensors[i].is_constant}  # fmt: skip


def test_a_graph_without_pixels_is_refused(schema):
    flatbuffer = build({"x": T((1, 2), "int32"), "y": T((1, 2), "int32")}, [("ABS", ["x"], ["y"], None)])
    with pytest.raises(ValueError, match="must take float32 or int8 pixels"):
        edit_model(flatbuffer, stored_constants=None)
