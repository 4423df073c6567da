"""Means over tokens as means over the planes of a picture: XNNPACK has a kernel for these alone."""

from torch.fx import GraphModule

from converters.passes.graph import ATEN, add_call_, finish_, shape_of
from converters.passes.shapes import sizes_of


def plane_means_(graph: GraphModule) -> int:
    """Write the mean of (B, N, C) over its tokens as one of (B, 1, N, C) over two axes."""
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target == ATEN.mean.dim and not n.kwargs]:
        shape = shape_of(node.args[0])
        if shape is None or len(shape) != 3 or [axis % 3 for axis in node.args[1]] != [1]:
            continue
        source = node.args[0]
        first, tokens, channels = sizes_of(source)
        plane = add_call_(graph, node, ATEN.reshape.default, source, [first, 1, tokens, channels])
        mean = add_call_(graph, node, ATEN.mean.dim, plane, [1, 2], *node.args[2:])
        if len(node.args) > 2 and node.args[2]:
            mean = add_call_(graph, node, ATEN.reshape.default, mean, [first, 1, channels])
        node.replace_all_uses_with(mean)
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)
