"""The int8 operators of an .mlpackage."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.coreml.mil.program import Operation, Program, Reference, read_program
from converters.grids import Grid, Int8Operator, digest_weights, make_grid

_KINDS = {
    "conv": "gemm", "linear": "gemm", "matmul": "matmul", "add": "add", "sub": "sub", "mul": "mul",
    "reduce_mean": "mean", "avg_pool": "mean", "concat": "concat", "sigmoid": "sigmoid",
}  # fmt: skip
_FUSED = ("relu", "relu6", "clip")


def read(path: Path) -> list[Int8Operator]:
    """Return the operators between dequantize and quantize operators, in the program's order.

    Raises:
        ValueError: If the file is damaged or no ML program.
    """
    return [operator for operator, _ in operators_of(read_program(path))]


def operators_of(program: Program) -> list[tuple[Int8Operator, str]]:
    """Return the operators, and of each the name of a quantize operator that reads what it gives."""
    return _Reader(program).operators()


class _Reader:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._producer, self._readers = program.producers(), program.readers()

    def operators(self) -> list[tuple[Int8Operator, str]]:
        found = []
        for operation in self._program.operations:
            kind = _KINDS.get(operation.kind)
            output = self._output_grid(operation) if kind else None
            if kind is None or output is None:
                continue
            sources = [self._producer[name] for name in operation.reads() if name in self._producer]
            grids = [self._grid(s) for s in sources if s.kind == "dequantize" and not self._is_constant(s)]
            if not grids:
                continue
            weights = self._weights(operation) if kind == "gemm" else ""
            operator = Int8Operator(kind, operation.name, tuple(sorted(grids)), output, weights)
            found.append((operator, self._rounded_by(operation)[0].name))
        return found

    def _rounded_by(self, operation: Operation) -> list[Operation]:
        """Return the readers of what an operation gives; of a ReLU that alone reads it, that one's."""
        readers = self._readers.get(operation.name, [])
        is_fused = len(readers) == 1 and readers[0].kind in _FUSED
        return self._readers.get(readers[0].name, []) if is_fused else readers

    def _output_grid(self, operation: Operation) -> Grid | None:
        readers = self._rounded_by(operation)
        if not readers or any(reader.kind != "quantize" for reader in readers):
            return None
        return self._grid(readers[0])

    def _value(self, operation: Operation, name: str) -> Any:
        entries = operation.inputs.get(name)
        if not entries:
            return None
        entry = entries[0]
        return self._producer[entry.name].value if isinstance(entry, Reference) else entry

    def _grid(self, operation: Operation) -> Grid:
        """Return the grid of a quantize or dequantize operator, that of uint8 moved to int8's range."""
        zero_point = self._value(operation, "zero_point")
        shift = 128 if self._integers(operation) == torch.uint8 else 0
        return make_grid(float(self._value(operation, "scale")), int(0 if zero_point is None else zero_point) - shift)

    def _integers(self, operation: Operation) -> torch.dtype | None:
        if operation.kind == "quantize":
            return operation.outputs[0].dtype
        entry = operation.inputs["input"][0]
        if not isinstance(entry, Reference):
            return entry.dtype
        return next(o.dtype for o in self._producer[entry.name].outputs if o.name == entry.name)

    def _is_constant(self, dequantize: Operation) -> bool:
        entry = dequantize.inputs["input"][0]
        source = self._producer.get(entry.name) if isinstance(entry, Reference) else None
        return not isinstance(entry, Reference) or (source is not None and source.kind == "const")

    def _weights(self, operation: Operation) -> str:
        """Return the digest of the weights' integers and scales; "floats" where they are none."""
        entry = operation.inputs["weight"][0]
        source = self._producer[entry.name] if isinstance(entry, Reference) else None
        if source is None or source.kind != "constexpr_affine_dequantize":
            return "floats"
        integers = np.asarray(self._value(source, "quantized_data"))
        if integers.ndim == 4:
            integers = integers.transpose(0, 2, 3, 1)  # (O, I, H, W) -> (O, H, W, I)
        scales = np.asarray(self._value(source, "scale")).astype(np.float32).reshape(-1)
        return digest_weights(integers, np.broadcast_to(scales, integers.shape[:1]))
