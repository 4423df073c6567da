"""The graph of an .mlpackage."""

from pathlib import Path

import torch

from converters.coreml.inspect import precisions
from converters.coreml.mil.program import Operation, Program, Reference, read_program
from converters.network import NetworkOperator, gemm_multiply_adds, matmul_multiply_adds

_GEMMS = ("conv", "linear")


def read(path: Path) -> list[NetworkOperator]:
    """Return the program's operators in its own order; constants and what unpacks them are left out.

    Raises:
        ValueError: If the file is damaged or no ML program.
    """
    return _Reader(read_program(path)).operators()


class _Reader:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._producer = program.producers()
        self._readers = {name: [o.name for o in readers] for name, readers in program.readers().items()}
        self._constants = _constants(program)
        self._seen: set[str] = set()

    def operators(self) -> list[NetworkOperator]:
        found: list[NetworkOperator] = []
        made_by: dict[str, int] = {}
        known = precisions(self._program)
        for operation in self._program.operations:
            if operation.name in self._constants:
                continue
            if self._is_inside_integers(operation, known):
                source = next(name for name in operation.reads() if name in made_by)
                made_by[operation.name] = made_by[source]
                continue
            result = operation.outputs[0]
            found.append(
                NetworkOperator(
                    kind=operation.kind,
                    name=operation.name,
                    precision=known.get(operation.name, "boundary" if "quantize" in operation.kind else "other"),
                    sources=tuple(dict.fromkeys(made_by[name] for name in operation.reads() if name in made_by)),
                    shape=result.shape or (),
                    multiply_adds=self._multiply_adds(operation),
                    constant_bytes=sum(self._stored_bytes(name) for name in operation.reads()),
                )
            )
            made_by |= {output.name: len(found) - 1 for output in operation.outputs}
        return found

    def _is_inside_integers(self, operation: Operation, known: dict[str, str]) -> bool:
        """Tell whether an operator only writes down that its neighbour computes in int8."""
        if operation.kind == "dequantize":
            return all(known.get(name) == "int8" for name in self._readers.get(operation.name, ["output"]))
        return operation.kind == "quantize" and all(known.get(n) == "int8" for n in self._activations(operation))

    def _activations(self, operation: Operation) -> list[str]:
        return [name for name in operation.reads() if name not in self._constants]

    def _stored_bytes(self, name: str) -> int:
        """Count the bytes of a constant, and of what it is unpacked from, that were not counted before."""
        if name not in self._constants or name in self._seen:
            return 0
        self._seen.add(name)
        operation = self._producer[name]
        values = [v for entries in operation.inputs.values() for v in entries] + [operation.value]
        own = sum(v.numel() * v.element_size() for v in values if isinstance(v, torch.Tensor))
        return own + sum(self._stored_bytes(v.name) for v in values if isinstance(v, Reference))

    def _multiply_adds(self, operation: Operation) -> int:
        given = operation.outputs[0].shape
        if given is None or operation.kind not in (*_GEMMS, "matmul"):
            return 0
        if operation.kind == "matmul":
            return matmul_multiply_adds(self._shape(operation, "x"), given)
        return gemm_multiply_adds(self._shape(operation, "weight"), given, 1 if operation.kind == "conv" else -1)

    def _shape(self, operation: Operation, name: str) -> tuple[int, ...]:
        entry = operation.inputs[name][0]
        if not isinstance(entry, Reference):
            return tuple(entry.shape)
        return self._producer[entry.name].outputs[0].shape or ()


def _constants(program: Program) -> set[str]:
    """Return the values that are the same whatever the input is."""
    found: set[str] = set()
    for operation in program.operations:
        is_stored = operation.kind == "const" or operation.kind.startswith("constexpr_")
        if is_stored or (operation.reads() and found.issuperset(operation.reads())):
            found.update(output.name for output in operation.outputs)
    return found
