"""Evaluate a Core ML program with torch, on any system.

Core ML runs on Apple's systems alone. This module computes what a file's program says, so that the numbers of an
.mlpackage can be checked anywhere. It knows the operators of this project's networks and those that coremltools' passes
make of them, no more. It does not claim the bits of a Neural Engine or GPU: every operator computes in float32, and a
result that the program declares as float16 is rounded to float16 once, at the end of the operator. Integers are exact:
`quantize` rounds halves to even and clamps, `dequantize` and the constexpr operator subtract before they scale.

    model = load("levit_128s_int8.mlpackage")
    model.predict({"image": pixels})       # uint8 RGB (H, W, 3), as an app would hand it over
    model.evaluate({"image": pixels})      # every value of the program by name, to find where numbers part
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.coreml.mil.operators import OPERATORS
from converters.coreml.mil.program import Feature, Operation, Program, Reference, Result, read_program

_STRUCTURAL = ("const", "classify")


class MilModel:
    """A loaded program, and how to run it."""

    def __init__(self, program: Program, source: str) -> None:
        self.program, self.source = program, source
        self._constants = _fold_constants(program)
        self._frees = _last_uses(program)

    def operator_counts(self) -> dict[str, int]:
        """Return how often each operator occurs, constants left out."""
        return dict(Counter(o.kind for o in self.program.operations if o.kind != "const"))

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the program.

        Args:
            inputs: By name. An image is RGB uint8, (H, W, 3) or (1, H, W, 3), of the declared size; an array has the
                shape that the program declares.

        Returns:
            Outputs by name: arrays, a class label, or a dict of label to number.

        Raises:
            ValueError: If an input is missing, unknown or of another shape, or an operator cannot be evaluated.
        """
        values = self._run(inputs, self._frees)
        return {name: _plain(values[name]) for name in self.program.outputs}

    def evaluate(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the program and return every value in it, constants included, by name."""
        return {name: _plain(value) for name, value in self._run(inputs, {}).items()}

    def _run(self, inputs: Mapping[str, Any], frees: Mapping[int, list[str]]) -> dict[str, Any]:
        """Run the operators in order; `frees` says which values to forget after each."""
        try:
            values = self._constants | self._prepare(inputs)
            with torch.no_grad():
                for position, operation in enumerate(self.program.operations):
                    if operation.name not in values:
                        _run_operation(operation, values)
                    for name in frees.get(position, ()):
                        del values[name]
        except ValueError as e:
            raise ValueError(f"{self.source}: {e}") from e
        return values

    def _prepare(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        names = [feature.name for feature in self.program.inputs]
        if sorted(inputs) != sorted(names):
            raise ValueError(f"inputs are {', '.join(names)}; got {', '.join(sorted(inputs)) or 'none'}")
        return {feature.name: _as_input(feature, inputs[feature.name]) for feature in self.program.inputs}


def load(path: str | Path) -> MilModel:
    """Open an .mlpackage or .mlmodel that holds an ML program.

    Raises:
        ValueError: If the file is missing, damaged, holds no ML program, or an operator in it is not known here.
        ImportError: If coremltools, which reads it, is not installed; the message names the extra.
    """
    program = read_program(path)
    if unknown := _unknown_operators(program):
        raise ValueError(
            f"{path}: the interpreter does not know {', '.join(unknown)}; it checks this project's files where Core ML "
            "does not run, and knows the operators of its networks alone"
        )
    try:
        return MilModel(program, str(path))
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from e


def _unknown_operators(program: Program) -> list[str]:
    """Return the operators, or inputs of operators, that are not known, each with the first output it leads to."""
    unknown: dict[str, str] = {}
    for operation in program.operations:
        kernel = OPERATORS.get(operation.kind)
        if kernel is not None:
            strange = [f"input {name} of operator {operation.kind}" for name in operation.inputs.keys() - kernel.names]
        else:
            strange = [] if operation.kind in _STRUCTURAL else [f"operator {operation.kind}"]
        for what in strange:
            unknown.setdefault(what, operation.name)
    return sorted(f"{what} (output {name!r})" for what, name in unknown.items())


def _as_input(feature: Feature, value: Any) -> Tensor:
    if feature.kind == "image":
        return _as_image(feature, np.asarray(value)).to(feature.dtype)
    if feature.kind != "array":
        raise ValueError(f"input {feature.name!r} is of type {feature.kind}, which the interpreter cannot feed")
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    if feature.shape and tuple(tensor.shape) != feature.shape:
        raise ValueError(f"input {feature.name!r} has shape {list(tensor.shape)}; expected {list(feature.shape)}")
    return tensor.to(feature.dtype)


def _as_image(feature: Feature, pixels: np.ndarray) -> Tensor:
    """Lay an image out as the program wants it, (1, 3, H, W)."""
    shape = (*feature.shape, 3)
    if pixels.ndim == len(shape) + 1 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.shape != shape or pixels.dtype != np.uint8:
        wanted = f"expected uint8 {list(shape)}"
        raise ValueError(f"image {feature.name!r} is {pixels.dtype} {list(pixels.shape)}; {wanted}")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


def _fold_constants(program: Program) -> dict[str, Any]:
    """Return every value that no input reaches: constants, and weights as floats."""
    known: dict[str, Any] = {}
    with torch.no_grad():
        for operation in program.operations:
            if all(name in known for name in operation.reads()):
                _run_operation(operation, known)
    return known


def _last_uses(program: Program) -> dict[int, list[str]]:
    """Return, by position, the names that no later operator needs; outputs are always needed."""
    last = {name: position for position, operation in enumerate(program.operations) for name in operation.reads()}
    frees: dict[int, list[str]] = {}
    for name, position in last.items():
        if name not in program.outputs:
            frees.setdefault(position, []).append(name)
    return frees


def _run_operation(operation: Operation, values: dict[str, Any]) -> None:
    arguments = {name: _argument(entries, values) for name, entries in operation.inputs.items()}
    if operation.kind == "const":
        results: list[Any] = [operation.value]
    elif operation.kind == "classify":
        results = _classify(arguments["probabilities"], arguments["classes"])
    else:
        results = _call(operation, arguments)
    for declared, result in zip(operation.outputs, results, strict=True):
        values[declared.name] = result


def _argument(entries: list[Any], values: Mapping[str, Any]) -> Any:
    found = [values[entry.name] if isinstance(entry, Reference) else entry for entry in entries]
    return found[0] if len(found) == 1 else found


def _call(operation: Operation, arguments: dict[str, Any]) -> list[Any]:
    """Run one kernel in float32 and give its results the types that the program declares."""
    kernel = OPERATORS[operation.kind]
    if absent := kernel.required - arguments.keys():
        raise ValueError(f"operator {operation.kind} {operation.name!r} lacks its input {', '.join(sorted(absent))}")
    try:
        results = kernel({name: _widen(value) for name, value in arguments.items()})
    except (RuntimeError, IndexError, TypeError, KeyError) as e:
        raise ValueError(f"operator {operation.kind} {operation.name!r} cannot be evaluated: {e}") from e
    results = results if isinstance(results, tuple) else (results,)
    return [_declare(operation, *pair) for pair in zip(operation.outputs, results, strict=True)]


def _widen(value: Any) -> Any:
    if isinstance(value, list):
        return [_widen(v) for v in value]
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.float16 else value


def _declare(operation: Operation, declared: Result, result: Tensor) -> Tensor:
    if declared.shape is not None and tuple(result.shape) != declared.shape:
        shapes = f"{list(result.shape)}, declared is {list(declared.shape)}"
        raise ValueError(f"operator {operation.kind} {operation.name!r} gives shape {shapes}")
    return result if declared.dtype is None else result.to(declared.dtype)


def _classify(probabilities: Tensor, labels: list[str]) -> list[Any]:
    by_label = dict(zip(labels, probabilities.float().reshape(-1).tolist(), strict=True))
    return [max(by_label, key=by_label.__getitem__), by_label]


def _plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
