"""Convolutions in their plainest form: padding in numbers."""

from torch.fx import GraphModule

from converters.passes.graph import ATEN, add_call_, finish_


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
