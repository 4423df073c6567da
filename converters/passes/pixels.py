"""Pixels in place of normalised images: mean and standard deviation go into the first convolution.

Its zero padding meant "the color that normalises to zero": the picture gets a border of that color before it, and the
convolution pads no more (edge_vit/layers/pixel_input.py has the reason in figures).
"""

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from converters.passes.convolutions import PADS, is_zero_pad
from converters.passes.graph import (
    ATEN,
    add_call_,
    add_known_constant_,
    add_parameter_,
    finish_,
    only_user,
    shape_of,
    stored,
)


def fold_normalisation_(graph: GraphModule) -> str:
    """Fold what a graph of pixels (B, H, W, 3) does to each color before its first convolution into that.

    Returns:
        "" where that was possible, else why it was not; the graph then stays as it is.
    """
    (source,) = [node for node in graph.graph.nodes if node.op == "placeholder"]
    scale, shift = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    readers = [user for user in source.users if user.target != ATEN.sym_size.int]  # that asks for the batch alone
    turn = readers[0] if len(readers) == 1 else None
    if turn is None or turn.target != ATEN.permute.default or list(turn.args[1]) != [0, 3, 1, 2]:  # type: ignore
        return "the picture is read by several operators"
    node, count = turn, 0
    while (user := only_user(node)) is not None:
        affine = _affine(graph, user, node)
        if affine is None:
            break
        scale, shift = scale * affine[0], shift * affine[0] + affine[1]
        node, count = user, count + 1
    first, pads = only_user(node), [0, 0, 0, 0]  # left, right, top, bottom
    while first is not None and first.target in PADS and is_zero_pad(first):
        given: list[int] = [*first.args[1], 0, 0, 0, 0][:4]  # type: ignore
        pads, node = [a + b for a, b in zip(pads, given, strict=True)], first
        first = only_user(node)
    if first is None:
        return "several operators read the normalised picture"
    weight = stored(graph, first.args[1]) if first.target == ATEN.conv2d.default else None
    if weight is None or weight.shape[1] != 3:
        return f"the normalised picture goes into {_kind(first)}, not into a convolution"
    if (bias := _bias_of(graph, first)) is None and len(first.args) > 2 and first.args[2] is not None:
        return "the first convolution's bias is computed"
    color = -shift / scale
    border = _border(first, pads, shape_of(turn))  # type: ignore[arg-type]
    if any(border) and not ((color >= 0) & (color <= 255)).all():
        return f"a border of normalised zeros is no color: {[round(float(c), 1) for c in color]}"
    _fold_(graph, first, weight.detach().double(), bias, scale, shift)
    framed = _framed(graph, turn, source, border, color.float())
    first.args = (framed, *first.args[1:])
    _without_padding_(first)
    finish_(graph, 1)
    return ""


def _affine(graph: GraphModule, user: Node, source: Node) -> tuple[Tensor, Tensor] | None:
    """Return the scale and shift, (3,), that an operator applies to the colors of `source`."""
    if user.target not in (ATEN.mul.Tensor, ATEN.div.Tensor, ATEN.add.Tensor, ATEN.sub.Tensor) or user.kwargs:
        return None
    if user.args[0] is not source:
        return None
    value = stored(graph, user.args[1])
    if isinstance(user.args[1], int | float):
        value = torch.tensor(float(user.args[1]))
    if value is None or value.dim() > 4:
        return None
    value = value.detach().double()
    value = value.reshape([1] * (4 - value.dim()) + list(value.shape))
    if value.shape[0] != 1 or value.shape[1] not in (1, 3) or value.shape[2:] != (1, 1):
        return None
    value = value.reshape(-1).expand(3)
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    if user.target in (ATEN.mul.Tensor, ATEN.div.Tensor):
        return (value if user.target == ATEN.mul.Tensor else 1.0 / value), zero
    return one, (value if user.target == ATEN.add.Tensor else -value)


def _kind(node: Node) -> str:
    return "nothing" if node.op == "output" else str(node.target).removeprefix("aten.").partition(".")[0]


def _bias_of(graph: GraphModule, conv: Node) -> Tensor | None:
    bias = stored(graph, conv.args[2]) if len(conv.args) > 2 else None
    return None if bias is None else bias.detach().double()


def _border(conv: Node, pads: list[int], shape: tuple[int, ...]) -> list[int]:
    """Return how far left, right, top and bottom of the picture the convolution reads, in pixels."""
    arguments = [*conv.args, *(None, [1, 1], [0, 0], [1, 1])[len(conv.args) - 2 :]]
    stride, padding, dilation = (_pair(value) for value in arguments[3:6])
    kernel = conv.args[1].meta["val"].shape[2:]  # type: ignore[union-attr]
    border = []
    for axis, (before, after) in enumerate(((pads[2], pads[3]), (pads[0], pads[1]))):
        before, after = before + padding[axis], after + padding[axis]
        size, span = int(shape[2 + axis]), dilation[axis] * (int(kernel[axis]) - 1) + 1
        reached = (before + size + after - span) // stride[axis] * stride[axis] + span
        border += [before, max(0, reached - before - size)]
    return [border[2], border[3], border[0], border[1]]


def _pair(value: object) -> tuple[int, int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return (int(values[0]), int(values[-1]))  # type: ignore


def _fold_(graph: GraphModule, conv: Node, weight: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor) -> None:
    path, _, leaf = str(conv.args[1].target).rpartition(".")  # type: ignore[union-attr]
    added = weight.sum((2, 3)) @ shift
    rest = list(conv.args[3:])
    conv.args = (conv.args[0], None, None, *rest)
    scaled = add_parameter_(graph, conv, path, leaf, (weight * scale.view(1, 3, 1, 1)).float())
    moved = add_parameter_(graph, conv, path, "bias", (added if bias is None else bias + added).float())
    conv.args = (conv.args[0], scaled, moved, *rest)


def _framed(graph: GraphModule, turn: Node, source: Node, border: list[int], color: Tensor) -> Node:
    """Join rows above and below, then columns left and right of the picture; return it turned to (B, 3, H, W)."""
    batch, height, width, _ = source.meta["val"].shape
    left, right, top, bottom = border

    def constant(rows: int, columns: int) -> Node:
        one = color.view(1, 1, 1, 3).repeat(1, rows, columns, 1)
        if isinstance(batch, int):
            return add_known_constant_(graph, turn, one.repeat(batch, 1, 1, 1))
        size = add_call_(graph, turn, ATEN.sym_size.int, source, 0)
        return add_call_(graph, turn, ATEN.expand.default, add_known_constant_(graph, turn, one), [size, -1, -1, -1])

    node = source
    rows = [constant(n, int(width)) if n else None for n in (top, bottom)]
    if any(rows):
        parts = [part for part in (rows[0], node, rows[1]) if part is not None]
        node = add_call_(graph, turn, ATEN.cat.default, parts, 1)
    columns = [constant(int(height) + top + bottom, n) if n else None for n in (left, right)]
    if any(columns):
        parts = [part for part in (columns[0], node, columns[1]) if part is not None]
        node = add_call_(graph, turn, ATEN.cat.default, parts, 2)
    return add_call_(graph, turn, ATEN.permute.default, node, [0, 3, 1, 2])


def _without_padding_(conv: Node) -> None:
    arguments = [*conv.args]
    if len(arguments) > 4:
        arguments[4] = [0, 0]
    conv.args = tuple(arguments)
