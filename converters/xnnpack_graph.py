"""A last clean-up of XNNPACK's own graph, between ExecuTorch's lowering and its serializer."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

_TURN = "XNNStaticTranspose"


@contextlib.contextmanager
def cancelled_turns() -> Iterator[None]:
    """While the block runs, have every serialized XNNPACK graph pass through `cancel_turns`.

    ExecuTorch (1.4.1) turns pictures to (B, H, W, C) where a convolution needs it, also where the graph has just turned
    them the other way, and offers no place for a pass after that.
    """
    from executorch.backends.xnnpack import xnnpack_preprocess

    serialize = xnnpack_preprocess.serialize_xnnpack_binary

    def clean_and_serialize(graph: Any, *arguments: Any) -> bytes:
        cancel_turns(graph)
        return serialize(graph, *arguments)

    xnnpack_preprocess.serialize_xnnpack_binary = clean_and_serialize
    try:
        yield
    finally:
        xnnpack_preprocess.serialize_xnnpack_binary = serialize


def cancel_turns(graph: Any) -> int:
    """Remove transposes from an XNNGraph, in place: pairs that undo each other, and those of a single number.

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
        if turn.input_id in single:
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


def _single_numbers(graph: Any) -> set[int]:
    """Return the values that hold one number, whatever their rank."""
    tensors = [getattr(v.xvalue_union, "tensor_value", v.xvalue_union) for v in getattr(graph, "xvalues", ())]
    return {tensor.id_out for tensor in tensors if tensor.dims and set(tensor.dims) == {1}}


def _inputs(node: Any) -> list[str]:
    names = [field.name for field in dataclasses.fields(node)]
    return [n for n in names if n.endswith("_id") and not n.startswith("output")]
