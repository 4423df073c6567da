"""Constants: stored as the integers, or as the values, that their quantize operators make of them.

Several operators may read one constant, each on another grid: each quantize operator gets a constant of its own.
"""

from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Node

from converters.passes.graph import add_constant_, finish_, get_tensor, is_quantize


def fold_quantized_constants_(graph: GraphModule) -> int:
    """Store weights as the integers that their quantize operator would give; runtimes want them so."""
    found = _quantized_constants(graph)
    for node in found:
        integers, _ = _integers(graph, node)
        constant = add_constant_(graph, node, integers)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)
        graph.graph.erase_node(node)
    return finish_(graph, len(found))


def settle_constants_(graph: GraphModule) -> int:
    """Replace weights by what their qdq pairs make of them: runtimes round halves in ways of their own."""
    found = _quantized_constants(graph)
    for node in found:
        dequantize = next(iter(node.users)).target
        integers, grid = _integers(graph, node)
        constant = add_constant_(graph, node, dequantize(integers, *grid))  # type: ignore[operator]
        constant.meta = dict(node.args[0].meta)  # type: ignore[union-attr]
        node.args = (constant, *node.args[1:])
    return finish_(graph, len(found))


def _quantized_constants(graph: GraphModule) -> list[Node]:
    nodes = [node for node in graph.graph.nodes if is_quantize(node)]
    return [node for node in nodes if all(source.op == "get_attr" for source in node.all_input_nodes)]


def _integers(graph: GraphModule, quantize: Node) -> tuple[Tensor, list[Any]]:
    """Return what a quantize operator gives for its constant, and its arguments after that, tensors read."""
    values = [get_tensor(graph, a).detach() if isinstance(a, Node) else a for a in quantize.args]
    return quantize.target(*values), values[1:]  # type: ignore[operator]
