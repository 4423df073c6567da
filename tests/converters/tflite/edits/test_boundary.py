"""A graph takes pixels and gives float logits, and softmax computes in float, all with the same values."""

import numpy as np
import pytest
from small_tflite import T, build, run

from converters.tflite.edits.boundary import free_from_int8_, give_float_, keep_integers_, take_uint8_
from converters.tflite.edits.flatbuffer import EditedModel

PIXELS = np.arange(0, 240, 20, dtype=np.uint8).reshape(1, 4, 3)
GRID = (0.5, 3)


def add_one(schema, dtype, grid=None):
    one = np.ones((1, 1, 1), np.float32 if dtype == "float32" else np.int8)
    tensors = {"x": T((1, 4, 3), dtype, grid), "one": T(one, grid=grid and (1.0, 0)), "y": T((1, 4, 3), dtype, grid)}
    return build(tensors, [("ADD", ["x", "one"], ["y"], schema.AddOptionsT())])


def edited(flatbuffer, *edits):
    model = EditedModel(flatbuffer)
    for edit in edits:
        edit(model)
    return model.pack()


def test_float_graph_takes_uint8(schema, read):
    flatbuffer = edited(add_one(schema, "float32"), take_uint8_)
    model = read(flatbuffer)
    assert [op.kind for op in model.operators] == ["DEQUANTIZE", "ADD"]
    assert [(t.name, t.dtype, t.scales) for t in model.input_tensors] == [("pixels", "uint8", (1.0,))]
    np.testing.assert_array_equal(run(flatbuffer, PIXELS), PIXELS + np.float32(1))


def test_int8_graph_takes_uint8_through_a_pair(schema, read):
    flatbuffer = edited(add_one(schema, "int8", (1.0, -128)), take_uint8_)
    assert [op.kind for op in read(flatbuffer).operators] == ["DEQUANTIZE", "QUANTIZE", "ADD"]
    np.testing.assert_array_equal(run(flatbuffer, PIXELS), PIXELS.astype(int) + 1 - 128)


def test_a_processor_without_floats_takes_uint8_through_one_operator(schema, read):
    model = EditedModel(add_one(schema, "int8", (1.0, -128)))
    take_uint8_(model, has_floats=False)
    assert [op.kind for op in read(model.pack()).operators] == ["QUANTIZE", "ADD"]
    np.testing.assert_array_equal(run(model.pack(), PIXELS), PIXELS.astype(int) + 1 - 128)


def test_integers_stay_at_both_ends(schema, read):
    model = EditedModel(add_one(schema, "int8", (1.0, -128)))
    keep_integers_(model, ("logits",))
    written = read(model.pack())
    assert [op.kind for op in written.operators] == ["ADD"]
    assert [(t.name, t.dtype) for t in written.input_tensors + written.output_tensors] == [
        ("pixels", "int8"), ("logits", "int8"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="pixels is float32 inside, no int8; leave --io int8 out"):
        keep_integers_(EditedModel(add_one(schema, "float32")), ("logits",))


def test_other_inputs_are_refused(schema):
    with pytest.raises(ValueError, match=r"input grid is 0\.5, 3; pixels need scale 1, zero point -128"):
        edited(add_one(schema, "int8", GRID), take_uint8_)
    with pytest.raises(ValueError, match="input type int32 is not allowed; the graph must take float32 or int8 pixels"):
        edited(build({"x": T((1, 2), "int32"), "y": T((1, 2), "int32")}, [("ABS", ["x"], ["y"], None)]), take_uint8_)


def test_logits_are_dequantized_or_only_named(schema, read):
    flatbuffer = edited(add_one(schema, "int8", GRID), give_float_)
    assert [op.kind for op in read(flatbuffer).operators] == ["ADD", "DEQUANTIZE"]
    integers = PIXELS.astype(np.int8)
    expected = (run(add_one(schema, "int8", GRID), integers).astype(np.float32) - GRID[1]) * GRID[0]
    np.testing.assert_array_equal(run(flatbuffer, integers), expected)
    model = read(edited(add_one(schema, "float32"), give_float_))
    assert [op.kind for op in model.operators] == ["ADD"] and model.output_tensors[0].name == "logits"


def test_signatures_follow(schema, read):
    model = EditedModel(add_one(schema, "int8", (1.0, -128)))
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    signature.inputs[0].name, signature.inputs[0].tensorIndex = b"args_0", 0
    signature.outputs[0].name, signature.outputs[0].tensorIndex = b"output_0", 2
    model.model.signatureDefs = [signature]
    take_uint8_(model)
    give_float_(model)
    written = read(model.pack())  # by the signature, which the reader goes by
    assert [t.name for t in written.input_tensors + written.output_tensors] == ["pixels", "logits"]


@pytest.mark.parametrize("kind", ["SOFTMAX", "GELU"])
def test_int8_softmax_and_gelu_compute_in_float(schema, read, kind):
    options = schema.SoftmaxOptionsT() if kind == "SOFTMAX" else schema.GeluOptionsT()
    if kind == "SOFTMAX":
        options.beta = 1.0
    tensors = {"x": T((1, 2, 4), "int8", (0.1, 0)), "y": T((1, 2, 4), "int8", (1 / 128, 0)),
               "z": T((1, 2, 4), "int8", (1 / 128, 0)), "sum": T((1, 2, 4), "int8", (1 / 64, 0))}  # fmt: skip
    # Both read the same integers: each gets its own way into float.
    operators = [(kind, ["x"], ["y"], options), (kind, ["x"], ["z"], options)]
    flatbuffer = edited(
        build(tensors, [*operators, ("ADD", ["y", "z"], ["sum"], schema.AddOptionsT())]), free_from_int8_
    )
    model = read(flatbuffer)
    assert [op.kind for op in model.operators] == [*2 * ("DEQUANTIZE", kind, "QUANTIZE"), "ADD"]
    assert all(model.tensors[op.inputs[0]].dtype == "float32" for op in model.operators if op.kind == kind)
    integers = np.array([[[-100, -10, 0, 5], [3, 2, 1, 4]]], np.int8)
    real = integers * np.float64(0.1)
    if kind == "SOFTMAX":
        once = np.exp(real) / np.exp(real).sum(-1, keepdims=True)
    else:
        once = 0.5 * real * (1 + np.vectorize(__import__("math").erf)(real / 2**0.5))
    assert np.abs(run(flatbuffer, integers) / 64 - 2 * once).max() <= 1.5 / 64


def test_float_softmax_stays(schema, read):
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    flatbuffer = build({"x": (1, 4), "y": (1, 4)}, [("SOFTMAX", ["x"], ["y"], options)])
    assert [op.kind for op in read(edited(flatbuffer, free_from_int8_)).operators] == ["SOFTMAX"]
