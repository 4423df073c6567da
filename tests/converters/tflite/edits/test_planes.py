"""Sums with constants in the form that LiteRT's GPU engine reads; what LiteRT computes on the CPU stays the same."""

import numpy as np
import pytest
from small_tflite import T, build, run

from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.edits.planes import plain_constants_

RNG = np.random.default_rng(0)


def values(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# Sides and result of a sum, and the shapes that the sum must then have: constants are arrays.
CASES = {
    "a bias a head": ((4, 6, 6), values(4, 6, 6), (4, 6, 6), [(1, 4, 6, 6), (1, 4, 6, 6)]),
    "a product of batch one": ((6, 6), values(1, 6, 6), (1, 6, 6), [(1, 6, 6), (1, 6, 6)]),
    "positions without a batch": ((1, 6, 8), values(6, 8), (1, 6, 8), [(1, 6, 8), (1, 6, 8)]),
    "rows": ((6, 8), values(6, 8), (6, 8), [(1, 1, 6, 8), (1, 1, 6, 8)]),
    "one for all heads": ((4, 6, 6), values(1, 6, 6), (4, 6, 6), None),
    "a vector": ((4, 6, 6), values(6), (4, 6, 6), None),
    "windows": ((4, 4, 6, 6), values(1, 4, 6, 6), (4, 4, 6, 6), None),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_every_kind_of_addend(kind, name, schema, read):
    side, constant, result, shapes = CASES[name]
    options = getattr(schema, f"{kind.title()}OptionsT")()
    flatbuffer = build({"x": side, "c": constant, "y": result}, [(kind, ["x", "c"], ["y"], options)])
    model = EditedModel(flatbuffer)
    plain_constants_(model)
    x = values(*side)
    np.testing.assert_array_equal(run(model.pack(), x), run(flatbuffer, x))
    (op,) = [op for op in read(model.pack()).operators if op.kind == kind]
    found = [tuple(read(model.pack()).tensors[i].shape) for i in op.inputs]
    assert found == (shapes or [side, constant.shape])
    if shapes is None:
        assert len(model.graph.operators) == 1


def test_a_constant_that_others_read_stays_as_it_was(schema):
    operators = [("ADD", ["x", "c"], ["y"], schema.AddOptionsT()), ("NEG", ["c"], ["z"], None)]
    model = EditedModel(build({"x": (4, 6, 6), "c": values(4, 6, 6), "y": (4, 6, 6), "z": (4, 6, 6)}, operators))
    plain_constants_(model)
    (negated,) = [op for op in model.graph.operators if model.kind(op) == "NEG"]
    assert model.shape(int(negated.inputs[0])) == (4, 6, 6)


def test_integers_are_left_alone(schema):
    grid = (0.1, 0)
    tensors = {
        "x": T((6, 6), "int8", grid), "c": T(np.ones((1, 6, 6), np.int8), "int8", grid), "y": T((1, 6, 6), "int8", grid)
    }  # fmt: skip
    model = EditedModel(build(tensors, [("ADD", ["x", "c"], ["y"], schema.AddOptionsT())]))
    plain_constants_(model)
    assert len(model.graph.operators) == 1
