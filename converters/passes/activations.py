"""Activations in operators that have int8 kernels, and clips in the one form that fuses."""

from typing import Any

from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_call_, finish_

_SUMS = (ATEN.add.Tensor, ATEN.sub.Tensor)


def spell_out_activations_(graph: GraphModule) -> int:
    """Write SiLU as x * sigmoid(x), Hardsigmoid as relu6(x + 3) / 6, relu6 and clamp as hardtanh, a ReLU as relu."""
    changed = 0
    for node in list(graph.graph.nodes):
        spelled = _spelled(graph, node)
        if spelled is not None:
            node.replace_all_uses_with(spelled)
            graph.graph.erase_node(node)
            changed += 1
    return finish_(graph, changed)


def _spelled(graph: GraphModule, node: Node) -> Node | None:
    def call(target: Any, *args: Any) -> Node:
        return add_call_(graph, node, target, *args)

    x = node.args[0] if node.args else None
    if node.target == ATEN.silu.default:
        return call(ATEN.mul.Tensor, x, call(ATEN.sigmoid.default, x))
    if node.target == ATEN.hardsigmoid.default:
        gate = call(ATEN.hardtanh.default, call(ATEN.add.Tensor, x, 3.0), 0.0, 6.0)
        return call(ATEN.mul.Tensor, gate, 1.0 / 6.0)
    if node.target == ATEN.relu6.default:
        return call(ATEN.hardtanh.default, x, 0.0, 6.0)
    if node.target == ATEN.hardtanh.default and len(node.args) < 3:
        return call(ATEN.hardtanh.default, x, *(*node.args[1:], *(-1.0, 1.0)[len(node.args) - 1 :]))
    if node.target == ATEN.clamp.default:
        limits = dict(zip(("min", "max"), node.args[1:], strict=False)) | dict(node.kwargs)
        low, high = limits.get("min"), limits.get("max")
        if low == 0 and high is None:
            return call(ATEN.relu.default, x)
        if isinstance(low, int | float) and isinstance(high, int | float):
            return call(ATEN.hardtanh.default, x, float(low), float(high))
    return None


def plain_arithmetic_(graph: GraphModule) -> int:
    """Write x + alpha * y with a product of its own, x / 4 as x * 0.25, and 3 - x as x * -1 + 3."""
    changed = 0
    for node in list(graph.graph.nodes):
        new = None
        if node.target in _SUMS and node.kwargs.get("alpha", 1) != 1:
            scaled = add_call_(graph, node, ATEN.mul.Tensor, node.args[1], node.kwargs["alpha"])
            new = add_call_(graph, node, node.target, node.args[0], scaled)
        elif node.target == ATEN.div.Tensor and not node.kwargs and isinstance(node.args[1], int | float):
            if node.meta["val"].is_floating_point() and node.args[1] != 0:
                new = add_call_(graph, node, ATEN.mul.Tensor, node.args[0], 1.0 / float(node.args[1]))
        elif node.target == ATEN.rsub.Scalar and not node.kwargs and len(node.args) == 2:
            turned = add_call_(graph, node, ATEN.mul.Tensor, node.args[0], -1.0)
            new = add_call_(graph, node, ATEN.add.Tensor, turned, node.args[1])
        elif node.target == ATEN.pow.Tensor_Scalar and node.args[1] == 2:
            new = add_call_(graph, node, ATEN.mul.Tensor, node.args[0], node.args[0])
        if new is not None:
            node.replace_all_uses_with(new)
            graph.graph.erase_node(node)
            changed += 1
    return finish_(graph, changed)
