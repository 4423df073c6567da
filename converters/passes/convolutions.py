"""Convolutions in their plainest form: padding in numbers, and their own."""

import torch
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_call_, add_parameter_, finish_, shape_of, stored

PADS = (ATEN.pad.default, ATEN.constant_pad_nd.default)


def number_paddings_(graph: GraphModule) -> int:
    """Write padding="same" and "valid" as numbers; where "same" pads one side more, with a pad before."""
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target == ATEN.conv2d.padding]:
        given = [*node.args, *(None, [1, 1], "valid", [1, 1], 1)[len(node.args) - 2 :]]
        x, weight, bias, stride, padding, dilation, groups = given
        kernel = weight.meta["val"].shape[2:]
        totals = [int(d) * (int(k) - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        height, width = totals
        if height % 2 or width % 2:
            x = add_call_(graph, node, ATEN.constant_pad_nd.default, x, [0, width % 2, 0, height % 2], 0.0)
        conv = add_call_(
            graph, node, ATEN.conv2d.default,
            x, weight, bias, list(stride), [height // 2, width // 2], list(dilation), groups,
        )  # fmt: skip
        node.replace_all_uses_with(conv)
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)


def fold_paddings_(graph: GraphModule) -> int:
    """Let convolutions pad with the zeros that a pad of its own puts around a picture.

    In int8 LiteRT's converter leaves such a pad where it stands, with the axes turned before it and back behind it. A
    convolution pads both sides alike. Where a pad does not, a depthwise kernel gets zeros before its first row or
    column, as many as are missing on that side.
    """
    changed = 0
    for pad in [node for node in graph.graph.nodes if node.target in PADS and is_zero_pad(node)]:
        left, right, top, bottom = [*pad.args[1], 0, 0, 0, 0][:4]  # type: ignore[misc]
        grown = (bottom - top, right - left)
        if not pad.users or min(grown) < 0 or not all(_can_pad(graph, user, pad, any(grown)) for user in pad.users):
            continue
        for conv in list(pad.users):
            _, weight, bias, stride, padding, dilation, groups = _arguments(conv)
            if any(grown):
                value = torch.nn.functional.pad(stored(graph, weight), (grown[1], 0, grown[0], 0))  # type: ignore
                weight = add_parameter_(graph, conv, "", "_grown", value.detach())
            own = [padding[0] + bottom, padding[1] + right]
            conv.args = (pad.args[0], weight, bias, stride, own, dilation, groups)
        changed += 1
    return finish_(graph, changed)


def is_zero_pad(node: Node) -> bool:
    """Tell whether a pad puts zeros around pictures (B, C, H, W), as many as it says in numbers."""
    mode = node.args[2] if node.target == ATEN.pad.default and len(node.args) > 2 else "constant"
    value = node.args[3:4] if node.target == ATEN.pad.default else node.args[2:3]
    widths = node.args[1]
    is_plane = isinstance(widths, list | tuple) and len(widths) <= 4 and all(isinstance(w, int) for w in widths)
    is_plane = is_plane and min(widths) >= 0  # type: ignore[arg-type, type-var]
    return is_plane and mode == "constant" and not any(value) and not node.kwargs


def _can_pad(graph: GraphModule, conv: Node, pad: Node, is_grown: bool) -> bool:
    if conv.target != ATEN.conv2d.default or conv.args[0] is not pad or len(shape_of(pad) or ()) != 4:
        return False
    weight = stored(graph, conv.args[1])
    dilation, groups = _arguments(conv)[5:]
    is_depthwise = weight is not None and weight.shape[1] == 1 and groups > 1 and list(dilation) == [1, 1]
    return is_depthwise or not is_grown


def _arguments(conv: Node) -> tuple:  # type: ignore[type-arg]
    given = [*conv.args, *(None, [1, 1], [0, 0], [1, 1], 1)[len(conv.args) - 2 :]]
    given[3:6] = [list(one) * (2 // len(one)) for one in given[3:6]]  # type: ignore[arg-type]
    return tuple(given)
