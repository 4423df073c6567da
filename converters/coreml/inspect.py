"""Say what an .mlpackage computes in int8 and what in float: its operators, counted by type and precision."""

import torch

from converters.coreml.mil.program import Operation, Program
from converters.manifest import OperatorsInfo

_NOT_COUNTED = ("const", "quantize", "dequantize", "classify", "cast")
_FLOATS = {torch.float16: "fp16", torch.float32: "float32"}


def summarise(program: Program) -> OperatorsInfo:
    """Count operators by type and precision, and name those that leave the integers.

    An operator counts as int8 if it moves integers, or if it reads dequantized values alone and quantize operators
    alone read what it gives: this is the form in which Core ML computes in int8.
    """
    counts: dict[str, dict[str, int]] = {}
    islands = []
    kinds = [operation.kind for operation in program.operations]
    by_name = precisions(program)
    for operation in program.operations:
        if operation.name not in by_name:
            continue
        precision = by_name[operation.name]
        by = counts.setdefault(operation.kind, {})
        by[precision] = by.get(precision, 0) + 1
        if precision != "int8":
            islands.append(operation.name)
    is_int8 = "quantize" in kinds
    return OperatorsInfo(
        counts=counts,
        quantize=kinds.count("quantize"),
        dequantize=kinds.count("dequantize"),
        float_islands=tuple(islands) if is_int8 else (),
    )


def precisions(program: Program) -> dict[str, str]:
    """Return the precision of each operator that computes or moves values, by its name."""
    producers, readers = program.producers(), program.readers()
    return {
        operation.name: _precision(operation, producers, readers)
        for operation in program.operations
        if operation.kind not in _NOT_COUNTED and not operation.kind.startswith("constexpr_")
    }


def _precision(operation: Operation, producers: dict[str, Operation], readers: dict[str, list[Operation]]) -> str:
    dtype = operation.outputs[0].dtype
    if dtype in (torch.int8, torch.uint8):
        return "int8"
    if dtype not in _FLOATS:
        return "other"
    sources = [producers[name].kind for name in operation.reads() if name in producers]
    sinks = [reader.kind for output in operation.outputs for reader in readers.get(output.name, [])]
    reads_int8 = any(kind == "dequantize" for kind in sources) and all(
        kind in ("dequantize", "const") or kind.startswith("constexpr_") for kind in sources
    )
    return "int8" if reads_int8 and sinks and set(sinks) == {"quantize"} else _FLOATS[dtype]
