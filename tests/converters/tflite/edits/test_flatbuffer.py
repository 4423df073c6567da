"""The object form: what is read from it, what is added, and that nothing shared is written to."""

import numpy as np
from small_tflite import T, build, run

from converters.tflite.edits.flatbuffer import EditedModel

ONES = np.ones((2, 2), np.float32)


def model_of(schema):
    tensors = {"x": (2, 2), "a": ONES, "b": T(ONES.reshape(4), shares="a"), "n": np.array([1, 2], np.int32),
               "y": (2, 2)}  # fmt: skip
    return EditedModel(build(tensors, [("ADD", ["x", "a"], ["y"], schema.AddOptionsT())]))


def test_kinds_types_and_values_are_read(schema):
    model = model_of(schema)
    assert [model.kind(op) for op in model.graph.operators] == ["ADD"]
    assert [model.dtype(i) for i in range(5)] == ["float32", "float32", "float32", "int32", "float32"]
    np.testing.assert_array_equal(model.constant(1, "float32"), ONES)
    assert model.constant(2, "float32").shape == (4,) and model.constant(3, "int32").tolist() == [1, 2]
    assert model.constant(0, "float32") is model.constant(3, "float32") is model.constant(-1, "float32") is None
    assert [model.is_activation(i, "float32") for i in (-1, 0, 1, 3)] == [False, True, False, False]


def test_replaced_values_leave_the_buffer_that_others_share(schema):
    model = model_of(schema)
    model.replace_values([1], np.full((2, 2), 7, np.float32))
    np.testing.assert_array_equal(model.constant(1, "float32"), 7 * ONES)
    np.testing.assert_array_equal(model.constant(2, "float32"), np.ones(4))
    np.testing.assert_array_equal(run(model.pack(), ONES), 8 * ONES)


def test_replaced_values_take_the_place_of_those_that_nobody_else_reads(schema):
    model = model_of(schema)
    count = len(model.model.buffers)
    model.replace_values([1, 2], np.full((2, 2), 3, np.int8), model.make_grid(0.5))
    assert len(model.model.buffers) == count and model.dtype(1) == model.dtype(2) == "int8"
    assert model.constant(2, "int8").tolist() == [3, 3, 3, 3]


def test_a_twin_shares_until_it_is_changed(schema):
    model = model_of(schema)
    twin = model.add_twin(1)
    assert model.graph.tensors[twin].buffer == model.graph.tensors[1].buffer
    model.replace_values([twin], np.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(model.constant(1, "float32"), ONES)


def test_kinds_are_listed_once_whatever_their_number(schema, read):
    model = model_of(schema)
    gelu = [model.make_operator("GELU", [4], [model.add_tensor(b"g", (2, 2), "float32")]) for _ in range(2)]
    assert len(model.model.operatorCodes) == 2 and [model.kind(op) for op in gelu] == ["GELU", "GELU"]
    assert model.model.operatorCodes[1].deprecatedBuiltinCode == 127  # 150 does not fit the older field
    gelu[0].builtinOptions = schema.GeluOptionsT()
    model.graph.operators.append(gelu[0])
    assert [op.kind for op in read(model.pack()).operators] == ["ADD", "GELU"]


def test_a_changed_operator_keeps_its_outputs_and_loses_its_options(schema, read):
    model = model_of(schema)
    (op,) = model.graph.operators
    model.change_operator(op, "RELU", [0])
    (written,) = read(model.pack()).operators
    assert (written.kind, written.inputs, written.outputs) == ("RELU", (0,), (4,)) and op.builtinOptions is None


def test_grids_one_and_by_channel(schema, read):
    model = model_of(schema)
    index = model.add_constant(b"w", np.ones((2, 3), np.int8), model.make_grid([0.5, 0.25, 2.0], axis=1))
    model.graph.tensors[0].quantization = model.make_grid(0.5, 3)
    tensors = read(model.pack()).tensors
    assert (tensors[index].scales, tensors[index].zero_points, tensors[index].axis) == ((0.5, 0.25, 2.0), (0, 0, 0), 1)
    assert (tensors[0].scales, tensors[0].zero_points) == ((0.5,), (3,))


def test_packing_twice_gives_the_same_bytes(schema):
    model = model_of(schema)
    assert model.pack() == model.pack() == EditedModel(model.pack()).pack()
