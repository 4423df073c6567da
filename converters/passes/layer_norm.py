"""Layer norm in operators that XNNPACK has."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_constant_, finish_


def spell_out_layer_norm_(graph: GraphModule, *, is_planned: bool = False) -> int:
    """Write layer norm over the last axis as products, sums and a reciprocal root; means as a linear layer of 1/C.

    XNNPACK has no layer norm, so each one would cut the delegate in two, and NPUs have none of integers; they have all
    of these.

    Args:
        is_planned: A plan for integers follows: what is new says where it came from, and the small number under the
            root is a bias, which has 32 bits, and no sum of its own.
    """
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target == ATEN.layer_norm.default]:
        x, shape, weight, bias, epsilon = _layer_norm_arguments(node)
        if len(shape) != 1:
            continue
        made: list[Node] = []

        def call(target: Any, *args: Any, made: list[Node] = made) -> Node:
            made.append(graph.graph.call_function(target, args))
            return made[-1]

        ones = add_constant_(graph, node, torch.full((1, shape[0]), 1.0 / shape[0]))
        small = add_constant_(graph, node, torch.tensor([epsilon])) if is_planned else None
        with graph.graph.inserting_before(node):
            mean = call(ATEN.linear.default, x, ones)
            centered = call(ATEN.sub.Tensor, x, mean)
            square = call(ATEN.mul.Tensor, centered, centered)
            if small is None:
                variance = call(ATEN.add.Tensor, call(ATEN.linear.default, square, ones), epsilon)
            else:
                variance = call(ATEN.linear.default, square, ones, small)
            scale = call(ATEN.rsqrt.default, variance)
            result = call(ATEN.mul.Tensor, centered, scale)
            result = result if weight is None else call(ATEN.mul.Tensor, result, weight)
            result = result if bias is None else call(ATEN.add.Tensor, result, bias)
        for new in made if is_planned else ():
            new.meta = dict(node.meta)
            if new in (mean, variance, scale):
                new.meta["val"] = node.meta["val"][..., :1]
        node.replace_all_uses_with(result)
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)


def _layer_norm_arguments(node: Node) -> tuple[Any, list[int], Any, Any, float]:
    arguments: list[Any] = [*node.args[:5], *(None, None, None, None, 1e-5)[len(node.args[:5]) :]]
    x, shape, weight, bias, epsilon = arguments
    return x, list(shape), weight, bias, float(epsilon)
