"""The order of axes: means, splits and permutations in the forms that XNNPACK takes."""

import operator
from collections.abc import Callable
from typing import Any

from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, finish_, is_dequantize, is_quantize, shape_of
from converters.passes.qdq import add_qdq_, requantize_


def average_over_planes_(graph: GraphModule) -> int:
    """Write the mean of a (B, H, W, C) tensor over H and W as one of its (B, C, H, W) form with its axes kept.

    XNNPACK has a kernel for the second alone; inside it the permutation is undone again.
    """
    changed = 0
    for node in list(graph.graph.nodes):
        shape, result = shape_of(node.args[0] if node.args else None), shape_of(node)
        if node.target != ATEN.mean.dim or node.kwargs or shape is None or result is None:
            continue
        rank, keep = len(shape), len(node.args) > 2 and bool(node.args[2])
        axes = sorted(axis % rank for axis in node.args[1])
        if rank != 4 or axes not in ([1, 2], [2, 3]) or (axes == [2, 3] and keep):
            continue
        x = node.args[0]
        with graph.graph.inserting_before(node):
            if axes == [1, 2]:
                x = _move_(graph, ATEN.permute.default, x, [0, 3, 1, 2])
            mean = graph.graph.call_function(ATEN.mean.dim, (x, [2, 3], True))
            last = requantize_(graph, mean, node)
            batch = result[0] if isinstance(result[0], int) else -1
            replacement = graph.graph.call_function(ATEN.view.default, (last, [batch, *result[1:]]))
        node.replace_all_uses_with(replacement)
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)


def _move_(graph: GraphModule, target: Callable[..., Any], x: Node, *arguments: Any) -> Node:
    """Call an operator that only moves values; integers stay on their grid."""
    moved = graph.graph.call_function(target, (x, *arguments))
    return add_qdq_(graph, moved, x.args[1:], x.target) if is_dequantize(x) else moved


def split_to_slices_(graph: GraphModule) -> int:
    """Write chunk, split and split_with_sizes as slices, each of which a partitioner takes by itself."""
    changed = 0
    splits = (ATEN.chunk.default, ATEN.split.Tensor, ATEN.split_with_sizes.default)
    for node in [n for n in graph.graph.nodes if n.target in splits]:
        axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        axis %= len(shape_of(node.args[0]))  # type: ignore[arg-type]
        ends = [0]
        for part in node.meta["val"]:
            ends.append(ends[-1] + part.shape[axis])
        for user in list(node.users):
            assert user.target is operator.getitem
            at = user.args[1]
            with graph.graph.inserting_before(user):
                piece = graph.graph.call_function(ATEN.slice.Tensor, (node.args[0], axis, ends[at], ends[at + 1]))
            piece.meta = dict(user.meta)
            user.replace_all_uses_with(piece)
            graph.graph.erase_node(user)
        changed += 1
    return finish_(graph, changed)


def copy_when_turning_(graph: GraphModule) -> int:
    """Write transpose and permute as the copying form, whose result lies in order.

    A reshape of a turned tensor exports as a clone and a view, and a partitioner finds no integers around the clone.
    """
    changed = 0
    for node in list(graph.graph.nodes):
        if node.target not in (ATEN.transpose.int, ATEN.permute.default):
            continue
        shape = shape_of(node)
        if shape is None:
            continue
        if node.target == ATEN.permute.default:
            order = [axis % len(shape) for axis in node.args[1]]
        else:
            order = list(range(len(shape)))
            first, second = (axis % len(shape) for axis in node.args[1:3])
            order[first], order[second] = order[second], order[first]
        node.target, node.args, node.kwargs = ATEN.permute_copy.default, (node.args[0], order), {}
        changed += 1
    return finish_(graph, changed)


def turn_once_(graph: GraphModule) -> int:
    """Join two permutations with a view between that only drops a leading axis of one: heads split, keys transposed."""
    changed = 0
    for node in list(graph.graph.nodes):
        if node.target != ATEN.permute_copy.default or _order(node) != [0, 2, 1]:
            continue
        view = _only_source(node)
        if view is None or view.target not in (ATEN.view.default, ATEN.reshape.default):
            continue
        turn, shape = _only_source(view), shape_of(view)
        if turn is None or turn.target != ATEN.permute_copy.default or shape_of(turn) != (1, *(shape or ())):
            continue
        order = _order(turn)
        turn.args = (turn.args[0], [*order[:2], order[3], order[2]])
        view.args = (view.args[0], [shape[0], shape[2], shape[1]])  # type: ignore[index]
        for changed_node in (turn, view):
            changed_node.meta = {k: v for k, v in changed_node.meta.items() if k not in ("val", "tensor_meta")}
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)


def _order(node: Node) -> list[int]:
    return [int(axis) for axis in node.args[1]]  # type: ignore[union-attr, arg-type]


def _only_source(node: Node) -> Node | None:
    """Return what `node` reads, past a quantize and dequantize pair, if nothing else reads it."""
    source = node.args[0]
    while is_dequantize(source) or is_quantize(source):
        if len(source.users) != 1:
            return None
        source = source.args[0]
    return source if isinstance(source, Node) and len(source.users) == 1 else None
