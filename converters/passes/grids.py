"""The int8 operators of a qdq graph, the common source of every format."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from converters.grids import Grid, Int8Operator, digest_weights, make_grid
from converters.passes.graph import ATEN, get_tensor, is_dequantize, is_quantize

KINDS = {
    ATEN.conv2d.default: "gemm", ATEN.linear.default: "gemm", ATEN.bmm.default: "matmul", ATEN.matmul.default: "matmul",
    ATEN.add.Tensor: "add", ATEN.sub.Tensor: "sub", ATEN.mul.Tensor: "mul", ATEN.mean.dim: "mean",
    ATEN.adaptive_avg_pool2d.default: "mean", ATEN.avg_pool2d.default: "mean", ATEN.cat.default: "concat",
    ATEN.sigmoid.default: "sigmoid",
}  # fmt: skip
_FUSED = (
    ATEN.relu.default, ATEN.relu_.default, ATEN.relu6.default, ATEN.hardtanh.default, ATEN.hardtanh_.default,
)  # fmt: skip


def read(graph: GraphModule) -> list[Int8Operator]:
    """Return every operator between dequantize and quantize operators, named after its module."""
    return [operator for operator, _ in operators_of(graph)]


def operators_of(graph: GraphModule) -> list[tuple[Int8Operator, Node]]:
    """Return those operators, and the node that gives each one's value: a ReLU behind it, if there is one."""
    found = []
    for node in graph.graph.nodes:
        output = _output_grid(node) if node.target in KINDS else None
        if output is None:
            continue
        operands = list(node.args[0]) if node.target == ATEN.cat.default else list(node.args[:2])
        if KINDS[node.target] == "gemm":
            operands = operands[:1]
        tensors = [operand for operand in operands if isinstance(operand, Node) and not _is_constant(operand)]
        if KINDS[node.target] not in ("gemm", "mean", "sigmoid"):
            operands = [operand for operand in operands if operand in tensors]
        if not tensors or not all(is_dequantize(operand) for operand in tensors):
            continue
        weights = _weights(graph, node) if KINDS[node.target] == "gemm" else ""
        if weights is None:
            continue
        grids = tuple(sorted(make_grid(t.args[1], t.args[2]) for t in tensors))  # type: ignore[arg-type]
        operator = Int8Operator(KINDS[node.target], _name(node), grids, output, weights)
        found.append((operator, _fused(node) or node))
    return found


def _output_grid(node: Node) -> Grid | None:
    users = list((_fused(node) or node).users)
    if not users or not all(is_quantize(user) for user in users):
        return None
    grids = {make_grid(user.args[1], user.args[2]) for user in users}  # type: ignore[arg-type]
    return grids.pop() if len(grids) == 1 else None


def _fused(node: Node) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in _FUSED else None


def _is_constant(node: Any) -> bool:
    """Tell whether a value is a constant, quantized, dequantized or moved."""
    while isinstance(node, Node) and node.op == "call_function" and node.args:
        is_spread = node.target == ATEN.expand.default  # perhaps over a batch whose size another node gives
        if len(node.all_input_nodes) != 1 and not (is_spread or is_quantize(node) or is_dequantize(node)):
            return False
        node = node.args[0]
    return isinstance(node, Node) and node.op == "get_attr"


def _weights(graph: GraphModule, node: Node) -> str | None:
    """Return the digest of the weights' integers and scales, None where they are floats."""
    dequantize = node.args[1]
    if not isinstance(dequantize, Node) or not is_dequantize(dequantize):
        return None
    scales = get_tensor(graph, dequantize.args[1])  # type: ignore[arg-type]
    source = dequantize.args[0]
    assert isinstance(source, Node)
    if is_quantize(source):
        values = [get_tensor(graph, a) if isinstance(a, Node) else a for a in source.args]
        integers = source.target(*values)  # type: ignore[operator]
    else:
        integers = get_tensor(graph, source)
    if integers.dim() == 4:
        integers = integers.permute(0, 2, 3, 1)  # (O, I, H, W) -> (O, H, W, I)
    return digest_weights(integers.detach().to(torch.int8).numpy(), scales.detach().numpy())


def _name(node: Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else node.name
