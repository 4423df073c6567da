"""A lone int8 ReLU becomes an addition of zero, with the same integers."""

import numpy as np
from small_tflite import T, build, run

from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.edits.relu import fuse_relu_

ALL = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)


def edited(flatbuffer):
    model = EditedModel(flatbuffer)
    fuse_relu_(model)
    return model.pack()


def test_int8_relu_becomes_an_addition_of_zero(read):
    tensors = {"x": T((1, 256), "int8", (0.5, 10)), "y": T((1, 256), "int8", (0.25, -128))}
    flatbuffer = build(tensors, [("RELU", ["x"], ["y"], None)])
    fused = edited(flatbuffer)
    model = read(fused)
    (add,) = model.operators
    zero = model.tensors[add.inputs[1]]
    assert add.kind == "ADD" and bytes(zero.data) == b"\0" and (zero.scales, zero.zero_points) == ((0.5,), (0,))
    np.testing.assert_array_equal(run(fused, ALL), run(flatbuffer, ALL))


def test_one_after_the_other(read):
    tensors = {"x": T((1, 256), "int8", (0.5, 10)), "y": T((1, 256), "int8", (0.25, -100)),
               "z": T((1, 256), "int8", (0.25, -128))}  # fmt: skip
    fused = edited(build(tensors, [("RELU", ["x"], ["y"], None), ("RELU", ["y"], ["z"], None)]))
    assert [op.kind for op in read(fused).operators] == ["ADD", "ADD"]
    real = np.maximum((ALL.astype(float) - 10) * 0.5, 0)
    assert np.abs((run(fused, ALL).astype(float) + 128) * 0.25 - np.minimum(real, 0.25 * 227)).max() <= 0.25


def test_float_relu_stays(read):
    assert [op.kind for op in read(edited(build({"x": (1, 4), "y": (1, 4)}, [("RELU", ["x"], ["y"], None)]))).operators
            ] == ["RELU"]  # fmt: skip
