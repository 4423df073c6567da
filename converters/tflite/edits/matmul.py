"""Products of two computed matrices."""

from typing import Any

import numpy as np

from converters.tflite.edits.flatbuffer import EditedModel


def restore_matmuls_(model: EditedModel) -> None:
    """Make every FULLY_CONNECTED with computed weights the BATCH_MATMUL that it was.

    The lowering tool turns an int8 matrix product of batch one into a transposition and a FULLY_CONNECTED, of which
    XNNPACK takes only those with constant weights.
    """
    graph = model.graph
    makers = {int(index): op for op in graph.operators for index in op.outputs}
    for op in graph.operators:
        if model.kind(op) != "FULLY_CONNECTED" or int(op.inputs[1]) not in makers:
            continue
        if op.builtinOptions.fusedActivationFunction or (len(op.inputs) > 2 and op.inputs[2] >= 0):
            continue  # a matrix product has neither; it stays, and is counted as slow
        left, right = (int(index) for index in op.inputs[:2])
        flip = makers[right]
        is_flipped = model.kind(flip) == "TRANSPOSE" and _swaps_last(model, flip)
        options = model.schema.BatchMatMulOptionsT()
        options.adjY = not is_flipped
        model.change_operator(op, "BATCH_MATMUL", [left, int(flip.inputs[0]) if is_flipped else right], options)
    used = model.read_tensors(graph.operators) | {int(index) for index in graph.outputs}
    graph.operators = [op for op in graph.operators if used & {int(index) for index in op.outputs}]


def turn_right_sides_(model: EditedModel) -> None:
    """Let the TRANSPOSE before a product write its right side as (columns, depth), where it writes (depth, columns).

    XNNPACK packs a computed right side anew at each inference, int8 of the first form with vector instructions, of the
    second value by value (in float the second costs less). The product is the same. A RESHAPE between the two that only
    drops or adds leading ones goes along.
    """
    makers = {int(index): op for op in model.graph.operators for index in op.outputs}
    reads = [int(index) for op in model.graph.operators for index in op.inputs] + [int(i) for i in model.graph.outputs]
    for op in model.graph.operators:
        if model.kind(op) != "BATCH_MATMUL" or op.builtinOptions.adjY or model.dtype(int(op.inputs[1])) != "int8":
            continue
        chain = _moves_before(model, makers, reads, int(op.inputs[1]))
        if chain and _turn_(model, chain):
            op.builtinOptions.adjY = True


def _moves_before(model: EditedModel, makers: dict[int, Any], reads: list[int], tensor: int) -> list[Any]:
    """Return the TRANSPOSE that gives a tensor and the RESHAPEs after it, [] if there is none or others read it."""
    chain: list[Any] = []
    while reads.count(tensor) == 1 and tensor in makers:
        op = makers[tensor]
        if model.kind(op) not in ("TRANSPOSE", "RESHAPE"):
            break
        chain.insert(0, op)
        if model.kind(op) == "TRANSPOSE":
            return chain
        tensor = int(op.inputs[0])
    return []


def _turn_(model: EditedModel, chain: list[Any]) -> bool:
    """Swap the last two axes of what a TRANSPOSE and the RESHAPEs after it write, if they allow it."""
    turn, *views = chain
    order = model.constant(int(turn.inputs[1]), "int32")
    outputs = [int(op.outputs[0]) for op in chain]
    shapes = [model.shape(tensor) for tensor in outputs]
    leading = {tuple(size for size in shape[:-2] if size != 1) for shape in shapes}
    if order is None or len(leading) > 1 or len({shape[-2:] for shape in shapes}) > 1 or min(map(len, shapes)) < 2:
        return False
    axes = [*order.tolist()[:-2], order.tolist()[-1], order.tolist()[-2]]
    turn.inputs = [int(turn.inputs[0]), model.add_constant(b"turned", np.array(axes, np.int32))]
    for tensor, shape in zip(outputs, shapes, strict=True):
        table = model.graph.tensors[tensor]
        table.shape = [*shape[:-2], shape[-1], shape[-2]]
        table.shapeSignature = None
    for view, tensor in zip(views, outputs[1:], strict=True):
        sizes = np.array(model.shape(tensor), np.int32)
        view.inputs = [int(view.inputs[0]), model.add_constant(b"turned_shape", sizes)]
        if view.builtinOptions is not None:
            view.builtinOptions.newShape = sizes.tolist()
    return True


def _swaps_last(model: EditedModel, transpose: Any) -> bool:
    """Tell whether a TRANSPOSE swaps the last two axes and keeps the others."""
    order = model.constant(int(transpose.inputs[1]), "int32")
    axes = [] if order is None else order.tolist()
    return len(axes) > 1 and axes == [*range(len(axes) - 2), len(axes) - 1, len(axes) - 2]
