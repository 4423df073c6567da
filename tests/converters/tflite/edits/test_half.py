"""An int8 model asks for float16 where all that it computes in float is a softmax of moderate values."""

import numpy as np
import pytest
from small_tflite import T, build, run

from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.edits.half import KEY, VALUE, allow_half_

CPU = "cortex-a76"


def softmax(schema, *, scale=0.1, bias=1.0, last="SOFTMAX"):
    """Int8 scores, a float bias, a softmax, int8 probabilities."""
    shape = (1, 64, 64)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    tensors = {
        "x": T(shape, "int8", (scale, 3)), "real": shape, "bias": np.full(shape, bias, np.float32), "sum": shape,
        "p": shape, "y": T(shape, "int8", (1 / 255, -128)),
    }  # fmt: skip
    operators = [
        ("DEQUANTIZE", ["x"], ["real"], None),
        ("ADD", ["real", "bias"], ["sum"], schema.AddOptionsT()),
        (last, ["sum"], ["p"], options if last == "SOFTMAX" else None),
        ("QUANTIZE", ["p"], ["y"], None),
    ]
    return build(tensors, operators)


def allowed(flatbuffer):
    model = EditedModel(flatbuffer)
    allow_half_(model)
    entries = [entry for entry in model.model.metadata or () if entry.name == KEY.encode()]
    return model.pack(), [bytes(bytearray(model.model.buffers[entry.buffer].data)) for entry in entries]


def test_a_softmax_may_be_computed_in_float16(schema):
    flatbuffer = softmax(schema)
    edited, written = allowed(flatbuffer)
    assert written == [VALUE]
    x = np.random.default_rng(0).integers(-128, 128, (1, 64, 64)).astype(np.int8)
    assert np.abs(run(edited, x).astype(int) - run(flatbuffer, x)).max() <= 1  # one, on a machine with float16


@pytest.mark.parametrize("changes", [{"scale": 100.0}, {"bias": -1e9}, {"last": "EXP"}])
def test_other_floats_may_not(schema, changes):
    assert allowed(softmax(schema, **changes))[1] == []


def test_a_core_with_float16_executes_less(schema, toolchain, tmp_path):
    from edge_vit.emulation import tflite as emulation

    paths = [tmp_path / name for name in ("plain.tflite", "allowed.tflite")]
    for path, data in zip(paths, (softmax(schema), allowed(softmax(schema))[0]), strict=True):
        path.write_bytes(data)
    plain, half = (emulation.emulate(path, CPU, runs=1, toolchain=toolchain) for path in paths)
    assert half.instructions < 0.7 * plain.instructions
    outputs = [np.frombuffer(e.output, np.int8).astype(int) for e in (plain, half)]
    assert np.abs(outputs[0] - outputs[1]).max() <= 1
    old = [emulation.emulate(path, "cortex-a53", runs=1, toolchain=toolchain) for path in paths]
    assert old[0].output == old[1].output and old[0].instructions == old[1].instructions
