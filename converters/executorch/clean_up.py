"""A last clean-up of XNNPACK's own graph, between ExecuTorch's lowering and its serializer."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

_TURN, _RESHAPE, _PRODUCT = "XNNStaticTranspose", "XNNStaticReshape", "XNNBatchMatrixMultiply"
_TRANSPOSE_B = 1  # XNN_FLAG_TRANSPOSE_B


@contextlib.contextmanager
def cancelled_turns() -> Iterator[None]:
    """While the block runs, have every serialized XNNPACK graph pass through `cancel_turns_` and `pack_along_rows_`.

    ExecuTorch (1.4.1) turns pictures to (B, H, W, C) where a convolution needs it, also where the graph has just turned
    them the other way, and offers no place for a pass after that.
    """
    from executorch.backends.xnnpack import xnnpack_preprocess

    serialize = xnnpack_preprocess.serialize_xnnpack_binary

    def clean_and_serialize(graph: Any, *arguments: Any) -> bytes:
        cancel_turns_(graph)
        if pack_along_rows_(graph):
            cancel_turns_(graph)
        return serialize(graph, *arguments)

    xnnpack_preprocess.serialize_xnnpack_binary = clean_and_serialize
    try:
        yield
    finally:
        xnnpack_preprocess.serialize_xnnpack_binary = serialize


def cancel_turns_(graph: Any) -> int:
    """Remove transposes from an XNNGraph, in place: pairs that undo each other, and such as turn nothing.

    Returns:
        How many values are read from before such a transpose, or pair of them, instead.
    """
    producers = {node.xnode_union.output_id: node for node in graph.xnodes if hasattr(node.xnode_union, "output_id")}
    outputs = set(graph.output_ids)
    single = _single_numbers(graph)
    same_as: dict[int, int] = {}
    for node in graph.xnodes:
        turn = node.xnode_union
        if type(turn).__name__ != _TURN or turn.output_id in outputs:
            continue
        if turn.input_id in single or list(turn.perm) == sorted(turn.perm):
            same_as[turn.output_id] = turn.input_id
            continue
        before = producers[turn.input_id].xnode_union if turn.input_id in producers else None
        if type(before).__name__ == _TURN and [before.perm[i] for i in turn.perm] == list(range(len(turn.perm))):
            same_as[turn.output_id] = before.input_id
    for node in graph.xnodes:
        for name in _inputs(node.xnode_union):
            value = getattr(node.xnode_union, name)
            while value in same_as:
                value = same_as[value]
            setattr(node.xnode_union, name, value)
    # Nobody reads the second of each pair any more; the first may have other readers.
    kept = [n for n in graph.xnodes if getattr(n.xnode_union, "output_id", None) not in same_as]
    read = outputs | {getattr(n.xnode_union, name) for n in kept for name in _inputs(n.xnode_union)}
    graph.xnodes = [n for n in kept if type(n.xnode_union).__name__ != _TURN or n.xnode_union.output_id in read]
    return len(same_as)


def pack_along_rows_(graph: Any) -> int:
    """Give matrix products their second factor with the axis that is summed over last, in place; return how many.

    XNNPACK packs a second factor that is computed anew at every inference, element by element, and walks along rows
    much faster than across them. What turns heads to the front turns this axis to the back on the way.
    """
    producers = {node.xnode_union.output_id: node.xnode_union for node in graph.xnodes}
    readers = collections.Counter(getattr(n.xnode_union, name) for n in graph.xnodes for name in _inputs(n.xnode_union))
    readers.update(graph.output_ids)
    tensors = _tensors(graph)
    changed = 0
    for node in (n.xnode_union for n in graph.xnodes):
        if type(node).__name__ != _PRODUCT or node.flags or readers[node.input2_id] != 1:
            continue
        before = producers.get(node.input2_id)
        view = before if type(before).__name__ == _RESHAPE and readers[before.input_id] == 1 else None
        turn = producers.get(view.input_id) if view is not None else before
        if type(turn).__name__ != _TURN or not _same_last_two(tensors, turn.output_id, node.input2_id):
            continue
        turn.perm = _swapped(turn.perm)
        for value in {turn.output_id, node.input2_id}:
            tensors[value].dims = _swapped(tensors[value].dims)
        if view is not None:
            view.new_shape = _swapped(view.new_shape)
        node.flags = _TRANSPOSE_B
        changed += 1
    return changed


def _swapped(axes: Any) -> list[int]:
    return [*axes[:-2], axes[-1], axes[-2]]


def _same_last_two(tensors: dict[int, Any], first: int, second: int) -> bool:
    return list(tensors[first].dims[-2:]) == list(tensors[second].dims[-2:])


def _tensors(graph: Any) -> dict[int, Any]:
    found = [getattr(v.xvalue_union, "tensor_value", v.xvalue_union) for v in getattr(graph, "xvalues", ())]
    return {tensor.id_out: tensor for tensor in found}


def _single_numbers(graph: Any) -> set[int]:
    """Return the values that hold one number, whatever their rank."""
    return {id for id, tensor in _tensors(graph).items() if tensor.dims and set(tensor.dims) == {1}}


def _inputs(node: Any) -> list[str]:
    names = [field.name for field in dataclasses.fields(node)]
    return [n for n in names if n.endswith("_id") and not n.startswith("output")]
