"""Clamps that the saturation of integers implies."""

import math

from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, QUANTIZE, finish_, is_quantize

CLAMPS = (ATEN.relu.default, ATEN.relu_.default, ATEN.hardtanh.default, ATEN.hardtanh_.default, ATEN.relu6.default)


def drop_implied_clamps_(graph: GraphModule) -> int:
    """Remove a ReLU or clip where the quantize operator behind it saturates at the same values or earlier."""
    dropped = 0
    for node in list(graph.graph.nodes):
        if node.target not in CLAMPS or not node.users:
            continue
        low, high = _clamp_limits(node)
        if all(is_quantize(user) and _saturates_within(user, low, high) for user in node.users):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
            dropped += 1
    return finish_(graph, dropped)


def _clamp_limits(node: Node) -> tuple[float, float]:
    if node.target in (ATEN.relu.default, ATEN.relu_.default):
        return 0.0, math.inf
    if node.target == ATEN.relu6.default:
        return 0.0, 6.0
    limits = [*node.args[1:3], *(-1.0, 1.0)[len(node.args) - 1 :]]
    return float(limits[0]), float(limits[1])  # type: ignore[arg-type]


def _saturates_within(quantize: Node, low: float, high: float) -> bool:
    if str(quantize.target) != QUANTIZE[0]:
        return False
    scale, zero_point, smallest, largest = (float(a) for a in quantize.args[1:5])  # type: ignore[arg-type]
    slack = scale * 1e-4  # the ends are on the grid up to rounding
    return (smallest - zero_point) * scale >= low - slack and (largest - zero_point) * scale <= high + slack
