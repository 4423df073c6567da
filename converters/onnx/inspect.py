"""Say what an .onnx file computes in int8 and what in float, and what ONNX Runtime has no int8 kernel for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.manifest import OperatorsInfo
from converters.onnx.graph import DEQUANTIZE, FUSED, MOVING, QUANTIZE, OnnxGraph

# Between dequantize and quantize operators ONNX Runtime's CPU provider runs these on the integers themselves.
RUNTIME_INT8 = MOVING | {
    "Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad",
    "Sigmoid", "Softmax", "Where",
}  # fmt: skip
_NOT_COUNTED = (QUANTIZE, DEQUANTIZE, "Cast")


@dataclass(frozen=True, slots=True)
class SlowOperator:
    """An int8 operator that ONNX Runtime's CPU provider computes in float, and why."""

    type: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a file holds; `summary` is the part that a manifest carries."""

    summary: OperatorsInfo
    slow_path: tuple[SlowOperator, ...]
    total: int


def inspect(path: Path) -> Inspection:
    """Count operators by type and precision.

    An operator counts as int8 if it reads dequantized values alone and quantize operators alone read what it gives:
    the form in which runtimes compute in int8.

    Raises:
        ValueError: If the file is damaged.
        ImportError: If onnx is not installed; the message names the extra.
    """
    graph = OnnxGraph.read(path)
    counts: dict[str, dict[str, int]] = {}
    islands, slow = [], []
    for node in graph.nodes:
        if node.op_type in _NOT_COUNTED or graph.is_constant(node.output[0]) or not graph.is_number(node.output[0]):
            continue
        precision = _integers(graph, node) if is_int8(graph, node) else "fp16" if reads_half(graph, node) else "float32"
        by = counts.setdefault(node.op_type, {})
        by[precision] = by.get(precision, 0) + 1
        if precision not in ("int8", "int16"):
            islands.append(node)
        elif node.op_type not in RUNTIME_INT8:
            slow.append(SlowOperator(node.op_type, node.name, "no int8 kernel in ONNX Runtime"))
    kinds = [node.op_type for node in graph.nodes]
    unpacked = sum(node.op_type == DEQUANTIZE and graph.is_constant(node.input[0]) for node in graph.nodes)
    is_quantized = QUANTIZE in kinds
    summary = OperatorsInfo(
        counts=counts,
        quantize=kinds.count(QUANTIZE),
        dequantize=kinds.count(DEQUANTIZE) - unpacked,
        float_islands=tuple(f"{node.op_type} {node.name}" for node in islands) if is_quantized else (),
    )
    return Inspection(summary=summary, slow_path=tuple(slow), total=sum(sum(by.values()) for by in counts.values()))


def is_int8(graph: OnnxGraph, node: Any) -> bool:
    """Tell whether an operator stands between dequantize and quantize operators; a ReLU or clip behind it may, too."""
    values = [name for name in node.input if name and not graph.is_constant(name)]
    if node.op_type in FUSED and values and graph.maker(values[0]) not in ("", DEQUANTIZE):
        return is_int8(graph, graph.makers[values[0]])
    if not values or any(graph.maker(name) != DEQUANTIZE for name in values):
        return False
    readers = [reader for name in node.output for reader in graph.readers_behind(name)]
    return bool(readers) and all(reader.op_type == QUANTIZE for reader in readers)


def _integers(graph: OnnxGraph, node: Any) -> str:
    """Return "int16" where an operator gives values of 16 bits, else "int8"."""
    return "int16" if any(graph.is_wide(reader) for reader in graph.readers_behind(node.output[0])) else "int8"


def reads_half(graph: OnnxGraph, node: Any) -> bool:
    """Tell whether an operator reads a constant that is stored in half precision."""
    return any(graph.maker(name) == "Cast" and graph.is_constant(name) for name in node.input)
