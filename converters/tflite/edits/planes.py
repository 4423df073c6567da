"""Sums and products with constants, for kernels that know no batch of a constant."""

from typing import Any

import numpy as np

from converters.tflite.edits.flatbuffer import EditedModel

_ELEMENTWISE = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")
_MOST_AXES = 4


def plain_constants_(model: EditedModel) -> None:
    """Give both sides of a float sum or product as many axes, and a constant's first one the length one.

    LiteRT's GPU engine (2.3, LiteRT.js 2.5.3) takes the first of two to four axes for the batch. Of a constant it reads
    the first entry of that axis alone, without a word, so that all heads get the first one's attention bias; and it
    adds (49, 49) to (1, 49, 49) as if the one were a batch of 49.
    """
    operators: list[Any] = []
    for op in model.graph.operators:
        sides = [int(index) for index in op.inputs]
        rank = _axes(model, sides, int(op.outputs[0])) if model.kind(op) in _ELEMENTWISE else 0
        if not rank:
            operators.append(op)
            continue
        op.inputs = [_raised(model, side, rank, operators) for side in sides]
        operators.append(op)
        output = int(op.outputs[0])
        if len(shape := model.shape(output)) < rank:
            result = model.add_tensor(b"in_planes", _shape(shape, rank), "float32")
            op.outputs = [result]
            operators.append(_reshape(model, result, output))
    model.graph.operators = operators


def _axes(model: EditedModel, sides: list[int], output: int) -> int:
    """Return how many axes an operator needs, 0 where it is good as it is."""
    shapes = [model.shape(side) for side in sides]
    several = [shape for shape in shapes if len(shape) > 1]  # numbers and vectors are spread as they are
    if model.dtype(output) != "float32" or not several:
        return 0
    constants = [shape for side, shape in zip(sides, shapes, strict=True) if _is_constant(model, side, shape)]
    rank = max(len(shape) for shape in (*several, model.shape(output)))
    if any(_shape(shape, rank)[0] > 1 for shape in constants):
        rank = _MOST_AXES
    return rank if any(len(shape) < rank for shape in several) else 0


def _is_constant(model: EditedModel, tensor: int, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and model.constant(tensor, "float32") is not None


def _raised(model: EditedModel, tensor: int, rank: int, operators: list[Any]) -> int:
    """Return a tensor with that many axes, ones in front; for an activation an operator is appended."""
    shape = model.shape(tensor)
    if len(shape) < 2 or len(shape) == rank:
        return tensor
    if _is_constant(model, tensor, shape):
        twin = model.add_twin(tensor)
        model.graph.tensors[twin].shape = list(_shape(shape, rank))
        return twin
    raised = model.add_tensor(model.graph.tensors[tensor].name + b"_in_planes", _shape(shape, rank), "float32")
    operators.append(_reshape(model, tensor, raised))
    return raised


def _reshape(model: EditedModel, source: int, result: int) -> Any:
    shape = model.add_constant(b"planes", np.array(model.shape(result), np.int32))
    return model.make_operator("RESHAPE", [source, shape], [result])


def _shape(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (1,) * (rank - len(shape)) + shape
