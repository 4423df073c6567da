"""The int8 operators of an .onnx file."""

from pathlib import Path
from typing import Any

import numpy as np

from converters.grids import Int8Operator, digest_weights
from converters.onnx.graph import DEQUANTIZE, OnnxGraph
from converters.onnx.inspect import is_int8

_KINDS = {
    "Conv": "gemm", "Gemm": "gemm", "MatMul": "matmul", "Add": "add", "Sub": "sub", "Mul": "mul", "ReduceMean": "mean",
    "AveragePool": "mean", "GlobalAveragePool": "mean", "Concat": "concat", "Sigmoid": "sigmoid",
}  # fmt: skip


def read(path: Path) -> list[Int8Operator]:
    """Return the operators between dequantize and quantize operators, in the file's order.

    Raises:
        ValueError: If the file is damaged.
        ImportError: If onnx is not installed; the message names the extra.
    """
    return [operator for operator, _ in operators_of(OnnxGraph.read(path))]


def operators_of(graph: OnnxGraph) -> list[tuple[Int8Operator, Any]]:
    """Return the operators, and of each a quantize operator that reads what it gives."""
    found = []
    for node in graph.nodes:
        kind = _KINDS.get(node.op_type)
        if kind is None or not is_int8(graph, node):
            continue
        readers = graph.readers_behind(node.output[0])
        outputs = {graph.grid(reader) for reader in readers}
        sources = node.input[:1] if kind == "gemm" else node.input
        inputs = [
            graph.makers[name] for name in sources if graph.maker(name) == DEQUANTIZE and not graph.is_constant(name)
        ]
        if len(outputs) != 1 or not inputs:
            continue
        grids = tuple(sorted(graph.grid(dequantize) for dequantize in inputs))
        weights = _weights(graph, node) if kind == "gemm" else ""
        found.append((Int8Operator(kind, node.name, grids, outputs.pop(), weights), readers[0]))
    return found


def _weights(graph: OnnxGraph, node: Any) -> str:
    """Return the digest of the weights' integers and scales; "floats" where they are none."""
    dequantize = graph.makers.get(node.input[1])
    if dequantize is None or dequantize.op_type != DEQUANTIZE or dequantize.input[0] not in graph.constants:
        return "floats"
    integers = graph.constants[dequantize.input[0]]
    scales = np.broadcast_to(graph.constants[dequantize.input[1]], integers.shape[:1])
    if integers.ndim == 4:
        integers = integers.transpose(0, 2, 3, 1)  # (O, I, H, W) -> (O, H, W, I)
    return digest_weights(integers, scales)
