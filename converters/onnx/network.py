"""The graph of an .onnx file."""

from pathlib import Path
from typing import Any

import numpy as np

from converters.network import NetworkOperator, gemm_multiply_adds, matmul_multiply_adds
from converters.onnx.graph import DEQUANTIZE, QUANTIZE, OnnxGraph
from converters.onnx.inspect import is_int8, reads_half

_GEMMS = ("Conv", "Gemm")


def read(path: Path) -> list[NetworkOperator]:
    """Return a file's operators in its own order.

    Left out are constants and what unpacks them, and the quantize and dequantize operators by which ONNX writes down
    that their neighbour computes in int8.

    Raises:
        ValueError: If the file is damaged.
        ImportError: If onnx is not installed; the message names the extra.
    """
    graph = OnnxGraph.read(path)
    shapes = _shapes(graph)
    found: list[NetworkOperator] = []
    made_by: dict[str, int] = {}
    seen: set[str] = set()
    for node in graph.nodes:
        activations = [name for name in node.input if name and not graph.is_constant(name)]
        if not activations or not graph.is_number(node.output[0]):
            continue
        if _is_inside_integers(graph, node):
            made_by |= {name: made_by[activations[0]] for name in node.output if activations[0] in made_by}
            continue
        stored = {_source(graph, name) for name in node.input if name and graph.is_constant(name)} - seen
        seen |= stored
        shape = shapes.get(node.output[0], ())
        found.append(
            NetworkOperator(
                kind=node.op_type,
                name=node.name,
                precision=_precision(graph, node),
                sources=tuple(dict.fromkeys(made_by[name] for name in activations if name in made_by)),
                shape=shape,
                multiply_adds=_multiply_adds(graph, node, shape, shapes),
                constant_bytes=sum(graph.constants[name].nbytes for name in stored),
            )
        )
        made_by |= dict.fromkeys(node.output, len(found) - 1)
    return found


def _precision(graph: OnnxGraph, node: Any) -> str:
    if node.op_type in (QUANTIZE, DEQUANTIZE, "Cast"):
        return "boundary"
    return "int8" if is_int8(graph, node) else "fp16" if reads_half(graph, node) else "float32"


def _is_inside_integers(graph: OnnxGraph, node: Any) -> bool:
    """Tell whether a quantize or dequantize operator stands beside int8 operators alone."""
    if node.op_type == QUANTIZE:
        maker = graph.makers.get(node.input[0])
        return maker is not None and is_int8(graph, maker)
    readers = graph.readers[node.output[0]]
    return node.op_type == DEQUANTIZE and bool(readers) and all(is_int8(graph, reader) for reader in readers)


def _source(graph: OnnxGraph, name: str) -> str:
    """Return the stored constant that a constant value is made of."""
    while name not in graph.constants:
        name = graph.makers[name].input[0]
    return name


def _multiply_adds(graph: OnnxGraph, node: Any, shape: tuple[int, ...], shapes: dict[str, tuple[int, ...]]) -> int:
    if not shape or node.op_type not in (*_GEMMS, "MatMul"):
        return 0
    if node.op_type == "MatMul":
        return matmul_multiply_adds(shapes.get(node.input[0], ()), shape) if node.input[0] in shapes else 0
    weights = graph.constants[_source(graph, node.input[1])].shape
    return gemm_multiply_adds(weights, shape, 1 if node.op_type == "Conv" else -1)


def _shapes(graph: OnnxGraph) -> dict[str, tuple[int, ...]]:
    """Return the shapes of values; an axis that is left open counts as 1."""
    values = [*graph.model.graph.value_info, *graph.model.graph.input, *graph.model.graph.output]
    found = {}
    for value in values:
        dims = value.type.tensor_type.shape.dim
        found[value.name] = tuple(int(np.maximum(dim.dim_value, 1)) for dim in dims)
    return found
