"""A linear layer whose outputs are divided, as one layer a part: queries, keys and values with ranges of their own.

Which rows belong to which part is not read off the operators between: places are sent through them, so that any way of
writing it is found, heads first or last, interleaved or not.
"""

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_call_, add_parameter_, finish_, get_tensor, shape_of

_MOVES = frozenset(
    {
        ATEN.view.default, ATEN.reshape.default, ATEN.transpose.int, ATEN.permute.default, ATEN.flatten.using_ints,
        ATEN.unflatten.int, ATEN.squeeze.dim, ATEN.unsqueeze.default, ATEN.contiguous.default, ATEN.clone.default,
        ATEN.select.int, ATEN.slice.Tensor, ATEN.split.Tensor, ATEN.split_with_sizes.default, ATEN.chunk.default,
    }
)  # fmt: skip
_OPEN = 2  # how many pictures stand for a batch of any size


def split_projections_(graph: GraphModule) -> int:
    """Give each part of a linear layer's outputs a layer of its own where they are divided by channels."""
    changed = 0
    for layer in [n for n in graph.graph.nodes if n.target == ATEN.linear.default]:
        weight, shape = layer.args[1], shape_of(layer)
        if weight.op != "get_attr" or shape is None or not all(isinstance(size, int) for size in shape[1:]):
            continue
        if not isinstance(shape[0], int) and not str(shape[0]).isidentifier():
            continue
        sizes = [shape[0] if isinstance(shape[0], int) else _OPEN, *shape[1:]]
        places = torch.arange(torch.Size(sizes).numel()).view(sizes)
        pieces = _pieces(layer, {layer: places})
        layouts = None if pieces is None or len(pieces) < 2 else [_layout(p, shape[-1]) for _, p in pieces]
        if pieces is None or layouts is None or None in layouts:
            continue
        for i, ((piece, _), layout) in enumerate(zip(pieces, layouts, strict=True)):
            assert layout is not None
            _give_own_layer_(graph, layer, piece, layout, i)
        changed += 1
    return finish_(graph, changed)


def _pieces(layer: Node, known: dict[Node, Any]) -> list[tuple[Node, Tensor]] | None:
    """Return the first values behind a layer that hold a part of it, with the places they hold; None if it is read
    otherwise."""
    found: list[tuple[Node, Tensor]] = []
    pending = [layer]
    while pending:
        node = pending.pop()
        for user in node.users:
            if user.target not in _MOVES and user.target is not operator.getitem:
                return None
            value = _evaluate(user, known)
            if value is None:
                return None
            known[user] = value
            if isinstance(value, Tensor) and value.numel() < known[layer].numel():
                found.append((user, value))
            else:
                pending.append(user)
    return sorted(found, key=lambda one: int(one[1].min()))


def _evaluate(node: Node, known: dict[Node, Any]) -> Any:
    """Compute a node from known values; a batch of any size has `_OPEN` pictures. None where that cannot be."""

    def value_of(source: Node) -> Any:
        if source in known:
            return known[source]
        if source.target == ATEN.sym_size.int:
            size = source.meta["val"]
            return size if isinstance(size, int) else _OPEN
        if source.op == "call_function" and getattr(source.target, "__module__", "") == "_operator":
            return _evaluate(source, known)
        raise LookupError(source.name)

    try:
        arguments, named = torch.fx.node.map_arg((node.args, node.kwargs), value_of)
        return node.target(*arguments, **named)  # type: ignore[operator]
    except (LookupError, RuntimeError, TypeError):
        return None


def _layout(places: Tensor, channels: int) -> tuple[Tensor, list[int], list[int]] | None:
    """Return which rows a part holds, and its axes: those of positions, those of channels; None if they are mixed."""
    row, position = places % channels, places // channels
    is_row, is_position = ([_varies(one, axis) for axis in range(places.dim())] for one in (row, position))
    if any(a and b for a, b in zip(is_row, is_position, strict=True)):
        return None
    across = [axis for axis, varies in enumerate(is_row) if varies]
    along = [axis for axis in range(places.dim()) if axis not in across]
    turned = places.permute(*along, *across)
    rows = turned.reshape(-1, turned[(0,) * len(along)].numel())[0] % channels
    count = places.numel() // len(rows)
    expected = torch.arange(count)[:, None] * channels + rows
    return (rows, along, across) if torch.equal(turned.reshape(count, -1), expected) else None


def _varies(value: Tensor, axis: int) -> bool:
    return bool((value != value.narrow(axis, 0, 1)).any())


def _give_own_layer_(
    graph: GraphModule, layer: Node, piece: Node, layout: tuple[Tensor, list[int], list[int]], number: int
) -> None:
    rows, along, across = layout
    weight = get_tensor(graph, layer.args[1]).detach()  # type: ignore[arg-type]
    path, _, leaf = str(layer.args[1].target).rpartition(".")  # type: ignore[union-attr]
    own = add_parameter_(graph, piece, path, f"{leaf}_part_{number}", weight[rows])
    parts = [layer.args[0], own]
    if len(layer.args) > 2 and layer.args[2] is not None:
        bias = get_tensor(graph, layer.args[2]).detach()  # type: ignore[arg-type]
        parts.append(add_parameter_(graph, piece, path, f"bias_part_{number}", bias[rows]))
    value = add_call_(graph, piece, ATEN.linear.default, *parts)
    shape: Any = shape_of(piece)
    sizes = [shape[axis] for axis in (*along, *across)]
    sizes = [size if isinstance(size, int) and i else -1 for i, size in enumerate(sizes)]
    value = add_call_(graph, piece, ATEN.reshape.default, value, sizes)
    order = [(*along, *across).index(axis) for axis in range(len(shape))]
    if order != sorted(order):
        value = add_call_(graph, piece, ATEN.permute.default, value, order)
    piece.replace_all_uses_with(value)
