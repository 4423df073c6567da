"""Pairs of quantize and dequantize operators: dropped, added, and moved out of the graph."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from converters.passes.graph import QUANTIZE, finish_, is_dequantize, is_quantize


def drop_repeated_qdq_(graph: GraphModule) -> int:
    """Remove a quantize operator that reads what was just dequantized from the same grid."""
    dropped = 0
    for node in list(graph.graph.nodes):
        source = node.args[0] if is_quantize(node) else None
        if source is not None and is_dequantize(source) and node.args[1:] == source.args[1:]:
            node.replace_all_uses_with(source.args[0])
            graph.graph.erase_node(node)
            dropped += 1
    return finish_(graph, dropped)


def requantize_(graph: GraphModule, value: Node, replaced: Node) -> Node:
    """Quantize `value` as all users of `replaced` do, so that what follows moves integers."""
    users = list(replaced.users)
    if not users or not all(is_quantize(user) for user in users):
        return value
    dequantize = next(iter(users[0].users)).target
    return add_qdq_(graph, value, users[0].args[1:], dequantize)


def add_qdq_(graph: GraphModule, value: Node, grid: tuple[Any, ...], dequantize: Any) -> Node:
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    return graph.graph.call_function(dequantize, (graph.graph.call_function(quantize, (value, *grid)), *grid))


def take_integer_input_(graph: GraphModule) -> tuple[float, int] | None:
    """Let the graph take what its first quantize operator gives, and return that operator's scale and zero point.

    Nothing happens, and None is returned, unless the input is read by exactly that operator or equal ones.
    """
    (source,) = [node for node in graph.graph.nodes if node.op == "placeholder"]
    users = list(source.users)
    if not users or not all(str(user.target) == QUANTIZE[0] for user in users):
        return None
    if len({tuple(map(str, user.args[1:])) for user in users}) != 1:
        return None
    scale, zero_point, dtype = users[0].args[1], users[0].args[2], users[0].args[5]
    for user in users:
        user.replace_all_uses_with(source)
        graph.graph.erase_node(user)
    source.meta["val"] = source.meta["val"].to(dtype)
    source.meta.pop("tensor_meta", None)
    finish_(graph, 1)
    return float(scale), int(zero_point)  # type: ignore[arg-type]
