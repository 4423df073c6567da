"""16-bit activations in a finished file: same reach, weights as they were, biases and constants exact."""

import numpy as np
import pytest
from small_tflite import T, build, run

from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.edits.wide import widen_

GRID, OUT = (0.05, 7), (0.04, -128)


def layer(schema, activation="RELU"):
    rng = np.random.default_rng(0)
    weights, bias = rng.integers(-127, 128, (3, 4)).astype(np.int8), np.array([900, -50, 7], np.int32)
    constant = np.array([[3, -100, 127]], np.int8)
    full, add = schema.FullyConnectedOptionsT(), schema.AddOptionsT()
    add.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)
    add.potScaleInt16 = True
    tensors = {
        "x": T((1, 4), "int8", GRID), "w": T(weights, grid=(0.01, 0)), "b": T(bias, grid=(0.05 * 0.01, 0)),
        "y": T((1, 3), "int8", (0.1, 3)), "c": T(constant, grid=(0.02, 0)), "z": T((1, 3), "int8", OUT),
    }  # fmt: skip
    flatbuffer = build(
        tensors, [("FULLY_CONNECTED", ["x", "w", "b"], ["y"], full), ("ADD", ["y", "c"], ["z"], add)]
    )  # fmt: skip

    def real(x):
        sums = x @ (weights.T * 0.01) + bias * 0.0005
        return np.maximum(sums + constant * 0.02, 0.0)

    return flatbuffer, real


def test_a_wide_file_computes_the_same_function_finer(schema, read):
    flatbuffer, real = layer(schema)
    model = EditedModel(flatbuffer)
    widen_(model)
    wide = model.pack()
    by_name = {tensor.name: tensor for tensor in read(wide).tensors}
    assert {name: by_name[name].dtype for name in ("x", "w", "y", "c", "z", "b_int64")} == {
        "x": "int16", "w": "int8", "y": "int16", "c": "int16", "z": "int16", "b_int64": "int64",
    }  # fmt: skip
    assert all(by_name[name].zero_points == (0,) for name in ("x", "y", "c", "z"))
    step, out = by_name["x"].scales[0], by_name["z"].scales[0]
    assert step == pytest.approx(0.05 * 135 / 32768) and out == pytest.approx(0.04 * 256 / 32768)
    values = np.array([[1.3, -2.4, 5.0, 0.7]])
    given = run(wide, np.round(values / step).astype(np.int16)) * out
    assert np.abs(given - real(values)).max() < 0.004  # the 8-bit file's steps are 0.04
    assert read(flatbuffer).tensors[0].dtype == "int8"


def test_what_has_no_kernel_is_refused(schema):
    model = EditedModel(
        build({"x": T((1, 4), "int8", GRID), "y": T((1, 4), "int8", GRID)}, [("GELU", ["x"], ["y"], None)])
    )
    with pytest.raises(ValueError, match="GELU has no kernel for int16 activations in LiteRT; use --int8"):
        widen_(model)
