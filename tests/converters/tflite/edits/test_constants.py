"""Large constants are stored smaller; what else reads their tensor or their buffer goes on reading floats."""

import numpy as np
import pytest
from small_tflite import T, build, run

from converters.tflite.edits.constants import shrink_constants_
from converters.tflite.edits.flatbuffer import EditedModel

SIDE = 32
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIDE, SIDE)).astype(np.float32)
C = RNG.normal(size=(SIDE, SIDE)).astype(np.float32)
SQUARE = (SIDE, SIDE)


def shrunk(flatbuffer, stored):
    model = EditedModel(flatbuffer)
    shrink_constants_(model, stored)
    return model.pack()


def on_int8_grid(values):
    scale = np.abs(values).max() / np.float32(127)
    return np.round(values / scale) * scale


def stored_types(model):
    """Return the types in which the constants of additions and products are stored, and what reads them directly."""
    return sorted(
        (op.kind, model.tensors[i].dtype) for op in model.operators for i in op.inputs if model.tensors[i].is_constant
    )


def add(schema, *operators, **tensors):
    options = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT}
    with_options = [(kind, inputs, outputs, options[kind]()) for kind, inputs, outputs in operators]
    return build({"x": SQUARE} | tensors, with_options)


@pytest.mark.parametrize("stored", ["int8", "fp16"])
def test_a_large_addend_is_stored_smaller(schema, read, stored):
    flatbuffer = add(schema, ("ADD", ["x", "c"], ["y"]), c=C, y=SQUARE)
    small = shrunk(flatbuffer, stored)
    model = read(small)
    assert [op.kind for op in model.operators] == ["DEQUANTIZE", "ADD"]
    assert stored_types(model) == [("DEQUANTIZE", {"int8": "int8", "fp16": "float16"}[stored])]
    kept = on_int8_grid(C) if stored == "int8" else C.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(run(small, X), X + kept, rtol=0, atol=1e-6)
    assert len(small) < len(flatbuffer) - C.size


@pytest.mark.parametrize("stored", ["int8", "fp16"])
def test_two_tensors_that_share_a_buffer(schema, read, stored):
    """Of another shape, too: the second was read as floats after it had become integers, and its scale was NaN."""
    flatbuffer = add(
        schema, ("ADD", ["x", "a"], ["s"]), ("ADD", ["s", "b"], ["y"]),
        a=C, b=T(C.reshape(1, SIDE, SIDE), shares="a"), s=SQUARE, y=(1, SIDE, SIDE),
    )  # fmt: skip
    small = shrunk(flatbuffer, stored)
    model = read(small)
    assert [op.kind for op in model.operators] == ["DEQUANTIZE", "DEQUANTIZE", "ADD", "ADD"]
    first, second = (model.tensors[op.inputs[0]] for op in model.operators[:2])
    assert first.data == second.data and first.scales == second.scales and np.isfinite(first.scales).all()
    kept = on_int8_grid(C) if stored == "int8" else C.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(run(small, X)[0], X + 2 * kept, rtol=0, atol=2e-6)
    assert len(small) < len(flatbuffer) - C.size  # and they still share one


def test_a_buffer_that_a_product_reads_too_stays_float(schema, read):
    flatbuffer = add(
        schema, ("ADD", ["x", "a"], ["s"]), ("MUL", ["s", "b"], ["y"]), a=C, b=T(C, shares="a"), s=SQUARE, y=SQUARE
    )
    small = shrunk(flatbuffer, "int8")
    assert stored_types(read(small)) == [("DEQUANTIZE", "int8"), ("MUL", "float32")]
    np.testing.assert_allclose(run(small, X), (X + on_int8_grid(C)) * C, rtol=1e-5, atol=1e-5)


def test_a_tensor_that_a_product_reads_too_stays_float(schema, read):
    flatbuffer = add(schema, ("ADD", ["x", "c"], ["s"]), ("MUL", ["s", "c"], ["y"]), c=C, s=SQUARE, y=SQUARE)
    small = shrunk(flatbuffer, "int8")
    assert stored_types(read(small)) == [("DEQUANTIZE", "int8"), ("MUL", "float32")]
    np.testing.assert_allclose(run(small, X), (X + on_int8_grid(C)) * C, rtol=1e-5, atol=1e-5)


def test_a_tensor_that_two_additions_read_is_dequantized_once(schema, read):
    flatbuffer = add(schema, ("ADD", ["x", "c"], ["s"]), ("ADD", ["c", "s"], ["y"]), c=C, s=SQUARE, y=SQUARE)
    small = shrunk(flatbuffer, "int8")
    assert [op.kind for op in read(small).operators] == ["DEQUANTIZE", "ADD", "ADD"]
    np.testing.assert_allclose(run(small, X), X + 2 * on_int8_grid(C), rtol=0, atol=2e-6)


def test_a_buffer_that_metadata_reads_too_stays(schema, read):
    model = EditedModel(add(schema, ("ADD", ["x", "c"], ["y"]), c=C, y=SQUARE))
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"table", model.graph.tensors[1].buffer
    model.model.metadata = [entry]
    shrink_constants_(model, "fp16")
    assert bytes(model.model.buffers[entry.buffer].data) == C.tobytes()
    np.testing.assert_allclose(run(model.pack(), X), X + C.astype(np.float16), rtol=0, atol=1e-5)


def test_zeros_stay_zeros(schema):
    zeros = np.zeros(SQUARE, np.float32)
    small = shrunk(add(schema, ("ADD", ["x", "c"], ["y"]), c=zeros, y=SQUARE), "int8")
    np.testing.assert_array_equal(run(small, X), X)


def test_small_constants_and_missing_inputs_stay(schema, read):
    flatbuffer = add(schema, ("ADD", ["x", "c"], ["y"]), c=C[:, :1], y=SQUARE)
    for stored in ("int8", "fp16"):
        assert stored_types(read(shrunk(flatbuffer, stored))) == [("ADD", "float32")]
    layer = [("FULLY_CONNECTED", ["x", "w", ""], ["y"], schema.FullyConnectedOptionsT())]
    model = read(shrunk(build({"x": SQUARE, "w": C, "y": SQUARE}, layer), "fp16"))
    assert [op.kind for op in model.operators] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert model.operators[1].inputs[2] == -1
