"""Products of two computed matrices."""

from typing import Any

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


def _swaps_last(model: EditedModel, transpose: Any) -> bool:
    """Tell whether a TRANSPOSE swaps the last two axes and keeps the others."""
    order = model.constant(int(transpose.inputs[1]), "int32")
    axes = [] if order is None else order.tolist()
    return len(axes) > 1 and axes == [*range(len(axes) - 2), len(axes) - 1, len(axes) - 2]
