"""Products of computed matrices become BATCH_MATMUL, with the same values."""

import numpy as np
import pytest
from small_tflite import T, build, run

from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.edits.matmul import restore_matmuls_, turn_right_sides_

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 4)).astype(np.float32)
SWAP = np.array([1, 0], np.int32)


def product(schema, **changes):
    options = schema.FullyConnectedOptionsT()
    for name, value in changes.items():
        setattr(options, name, value)
    return options


def restored(flatbuffer):
    model = EditedModel(flatbuffer)
    restore_matmuls_(model)
    return model.pack()


def kinds(model):
    return [op.kind for op in model.operators]


def test_the_transposition_before_a_product_goes(schema, read):
    operators = [("TRANSPOSE", ["x", "swap"], ["t"], None), ("FULLY_CONNECTED", ["x", "t"], ["y"], product(schema))]
    flatbuffer = build({"x": (4, 4), "swap": SWAP, "t": (4, 4), "y": (4, 4)}, operators)
    edited = restored(flatbuffer)
    assert kinds(read(edited)) == ["BATCH_MATMUL"]
    np.testing.assert_allclose(run(edited, X), X @ X, rtol=1e-5)
    np.testing.assert_allclose(run(edited, X), run(flatbuffer, X), rtol=1e-5)


def test_a_transposition_that_others_read_stays(schema, read):
    tensors = {"x": (4, 4), "swap": SWAP, "t": (4, 4), "p": (4, 4), "y": (4, 4)}
    operators = [
        ("TRANSPOSE", ["x", "swap"], ["t"], None),
        ("FULLY_CONNECTED", ["x", "t"], ["p"], product(schema)),
        ("ADD", ["p", "t"], ["y"], schema.AddOptionsT()),
    ]
    edited = restored(build(tensors, operators))
    assert kinds(read(edited)) == ["TRANSPOSE", "BATCH_MATMUL", "ADD"]
    np.testing.assert_allclose(run(edited, X), X @ X + X.T, rtol=1e-5)


def test_a_product_that_feeds_the_next_one(schema, read):
    tensors = {"x": (4, 4), "swap": SWAP, "t": (4, 4), "p": (4, 4), "y": (4, 4)}
    operators = [
        ("TRANSPOSE", ["x", "swap"], ["t"], None),
        ("FULLY_CONNECTED", ["x", "t"], ["p"], product(schema)),
        ("FULLY_CONNECTED", ["x", "p"], ["y"], product(schema)),
    ]
    flatbuffer = build(tensors, operators)
    edited = restored(flatbuffer)
    assert kinds(read(edited)) == ["BATCH_MATMUL", "BATCH_MATMUL"]
    np.testing.assert_allclose(run(edited, X), X @ (X @ X).T, rtol=1e-4)
    np.testing.assert_allclose(run(edited, X), run(flatbuffer, X), rtol=1e-4)


def test_every_output_of_a_split_counts_as_computed(schema, read):
    options = schema.SplitOptionsT()
    options.numSplits = 2
    tensors = {"x": (4, 4), "axis": np.array(0, np.int32), "a": (2, 4), "b": (2, 4), "y": (2, 2)}
    operators = [
        ("SPLIT", ["axis", "x"], ["a", "b"], options),
        ("FULLY_CONNECTED", ["a", "b"], ["y"], product(schema)),
    ]
    edited = restored(build(tensors, operators))
    assert kinds(read(edited)) == ["SPLIT", "BATCH_MATMUL"]
    np.testing.assert_allclose(run(edited, X), X[:2] @ X[2:].T, rtol=1e-5)


def test_other_turns_stay_and_the_product_is_adjoint(schema, read):
    tensors = {"x": (4, 4), "stay": np.array([0, 1], np.int32), "t": (4, 4), "y": (4, 4)}
    operators = [("TRANSPOSE", ["x", "stay"], ["t"], None), ("FULLY_CONNECTED", ["x", "t"], ["y"], product(schema))]
    edited = restored(build(tensors, operators))
    assert kinds(read(edited)) == ["TRANSPOSE", "BATCH_MATMUL"]
    np.testing.assert_allclose(run(edited, X), X @ X.T, rtol=1e-5)


def test_a_computed_order_of_axes_is_no_swap(schema, read):
    tensors = {"x": (4, 4), "swap": SWAP, "zero": np.zeros(2, np.int32), "order": T((2,), "int32"), "t": (4, 4),
               "y": (4, 4)}  # fmt: skip
    operators = [
        ("ADD", ["swap", "zero"], ["order"], schema.AddOptionsT()),
        ("TRANSPOSE", ["x", "order"], ["t"], None),
        ("FULLY_CONNECTED", ["x", "t"], ["y"], product(schema)),
    ]
    assert kinds(read(restored(build(tensors, operators)))) == ["ADD", "TRANSPOSE", "BATCH_MATMUL"]


@pytest.mark.parametrize("what", ["constant", "bias", "relu"])
def test_layers_stay(schema, read, what):
    tensors = {"x": (4, 4), "swap": SWAP, "t": (4, 4), "w": X, "b": X[0], "y": (4, 4)}
    options = product(schema, fusedActivationFunction=schema.ActivationFunctionType.RELU if what == "relu" else 0)
    inputs = ["x", "w" if what == "constant" else "t", "b" if what == "bias" else ""]
    operators = [("TRANSPOSE", ["x", "swap"], ["t"], None), ("FULLY_CONNECTED", inputs, ["y"], options)]
    assert kinds(read(restored(build(tensors, operators))))[-1] == "FULLY_CONNECTED"


def test_int8_products_keep_their_integers(schema, read):
    grid = (0.05, 0)
    tensors = {"x": T((4, 4), "int8", grid), "swap": SWAP, "t": T((4, 4), "int8", grid),
               "y": T((4, 4), "int8", (0.2, 3))}  # fmt: skip
    operators = [("TRANSPOSE", ["x", "swap"], ["t"], None), ("FULLY_CONNECTED", ["x", "t"], ["y"], product(schema))]
    edited = restored(build(tensors, operators))
    assert kinds(read(edited)) == ["BATCH_MATMUL"]
    integers = RNG.integers(-100, 100, (4, 4)).astype(np.int8)
    exact = np.clip(np.round(integers.astype(int) @ integers * 0.05**2 / 0.2) + 3, -128, 127)
    assert np.abs(run(edited, integers) - exact).max() <= 1


GRID = (0.05, 0)


def values_of(schema, shape, *, reads_twice=False):
    """Heads of values turned by a TRANSPOSE and a RESHAPE, then multiplied by themselves turned: int8 throughout."""
    batch_matmul = schema.BatchMatMulOptionsT()
    tensors = {
        "x": T((1, 6, 2, 4), "int8", GRID), "order": np.array([0, 2, 1, 3], np.int32),
        "turned": T((1, 2, 6, 4), "int8", GRID), "shape": np.array(shape, np.int32), "v": T(shape, "int8", GRID),
        "w": T((*shape[:-2], 3, 6), "int8", GRID), "y": T((*shape[:-2], 3, 4), "int8", (0.1, 3)),
    }  # fmt: skip
    tensors["w"] = T(RNG.integers(-127, 128, (*shape[:-2], 3, 6)).astype(np.int8), "int8", GRID)
    operators = [
        ("TRANSPOSE", ["x", "order"], ["turned"], None),
        ("RESHAPE", ["turned", "shape"], ["v"], None),
        ("BATCH_MATMUL", ["w", "v"], ["y"], batch_matmul),
    ]
    if reads_twice:
        tensors["z"] = T(shape, "int8", GRID)
        operators.append(("ADD", ["v", "v"], ["z"], schema.AddOptionsT()))
    return build(tensors, operators, ["y", "z"] if reads_twice else ["y"])


def turned(flatbuffer):
    model = EditedModel(flatbuffer)
    turn_right_sides_(model)
    return model.pack()


@pytest.mark.parametrize("shape", [(2, 6, 4), (1, 2, 6, 4)])
def test_a_right_side_is_written_by_columns(schema, read, shape):
    flatbuffer = values_of(schema, shape)
    edited = turned(flatbuffer)
    x = RNG.integers(-128, 128, (1, 6, 2, 4)).astype(np.int8)
    np.testing.assert_array_equal(run(edited, x), run(flatbuffer, x))
    model = read(edited)
    assert kinds(model) == ["TRANSPOSE", "RESHAPE", "BATCH_MATMUL"]
    assert model.tensors[model.operators[2].inputs[1]].shape == (*shape[:-2], 4, 6)
    assert turned(edited) == edited


def test_a_right_side_that_others_read_stays(schema, read):
    flatbuffer = values_of(schema, (2, 6, 4), reads_twice=True)
    assert read(turned(flatbuffer)).operators == read(flatbuffer).operators


def test_a_right_side_whose_axes_are_joined_stays(schema, read):
    options = schema.BatchMatMulOptionsT()
    tensors = {
        "x": T((1, 6, 2, 4), "int8", GRID), "order": np.array([0, 2, 1, 3], np.int32),
        "turned": T((1, 2, 6, 4), "int8", GRID), "shape": np.array([12, 4], np.int32), "v": T((12, 4), "int8", GRID),
        "w": T(RNG.integers(-127, 128, (3, 12)).astype(np.int8), "int8", GRID), "y": T((3, 4), "int8", (0.1, 3)),
    }  # fmt: skip
    operators = [
        ("TRANSPOSE", ["x", "order"], ["turned"], None),
        ("RESHAPE", ["turned", "shape"], ["v"], None),
        ("BATCH_MATMUL", ["w", "v"], ["y"], options),
    ]
    flatbuffer = build(tensors, operators)
    assert read(turned(flatbuffer)).operators == read(flatbuffer).operators
