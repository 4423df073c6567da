"""Layer norm in operators that XNNPACK has."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_constant_, finish_


def spell_out_layer_norm_(graph: GraphModule) -> int:
    """Write layer norm over the last axis as products, sums and a reciprocal root; means as a linear layer of 1/C.

    XNNPACK has no layer norm, so each one would cut the delegate in two; it has all of these.
    """
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target == ATEN.layer_norm.default]:
        x, shape, weight, bias, epsilon = _layer_norm_arguments(node)
        if len(shape) != 1:
            continue
        call = graph.graph.call_function
        ones = add_constant_(graph, node, torch.full((1, shape[0]), 1.0 / shape[0]))
        with graph.graph.inserting_before(node):
            centered = call(ATEN.sub.Tensor, (x, call(ATEN.linear.default, (x, ones))))
            variance = call(ATEN.linear.default, (call(ATEN.mul.Tensor, (centered, centered)), ones))
            scale = call(ATEN.rsqrt.default, (call(ATEN.add.Tensor, (variance, epsilon)),))
            result = call(ATEN.mul.Tensor, (centered, scale))
            result = result if weight is None else call(ATEN.mul.Tensor, (result, weight))
            result = result if bias is None else call(ATEN.add.Tensor, (result, bias))
        node.replace_all_uses_with(result)
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)


def _layer_norm_arguments(node: Node) -> tuple[Any, list[int], Any, Any, float]:
    arguments: list[Any] = [*node.args[:5], *(None, None, None, None, 1e-5)[len(node.args[:5]) :]]
    x, shape, weight, bias, epsilon = arguments
    return x, list(shape), weight, bias, float(epsilon)
