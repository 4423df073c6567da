"""Evaluate a Core ML program (.mlpackage, .mlmodel) with torch, on any system.

Core ML runs on Apple's systems alone; this module reads the file itself and computes what the program says, so that
an artefact's numbers can be checked anywhere. What it does not claim: the bits of a Neural Engine or GPU. Every
operator computes in float32; a result that the program declares as float16 is rounded to float16 once, at the end of
the operator. Integers are exact: `quantize` rounds halves to even and clamps, `dequantize` and the constexpr operators
subtract before they scale.

    model = load("levit_128s_int8.mlpackage")
    model.predict({"image": pixels})       # uint8 RGB (H, W, 3), as an app would hand it over
    model.evaluate({"image": pixels})      # every value of the program by name, for finding where numbers part
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.coreml.mil import elementwise, layout, networks, quantized
from converters.coreml.mil.kernel import Kernel
from converters.coreml.mil.program import Block, Feature, Operation, Program, Reference, Result, read_program

KERNELS: dict[str, Kernel] = elementwise.OPERATORS | layout.OPERATORS | networks.OPERATORS | quantized.OPERATORS
_STRUCTURAL = ("const", "classify", "cond", "while_loop")
_MAX_LOOPS = 100_000


class MilModel:
    """A loaded program: what goes in and out, and how to run it."""

    def __init__(self, program: Program, source: str) -> None:
        self.program, self.source = program, source
        self.inputs: tuple[Feature, ...] = program.inputs
        self.outputs: tuple[Feature, ...] = program.outputs
        self._constants: dict[str, Any] = {}
        self._frees: dict[int, list[str]] | None = None  # made at the first run

    def unsupported(self) -> list[str]:
        """Return the operators, or inputs of operators, that this interpreter does not know, sorted."""
        missing = set()
        for operation in self.program.block.walk():
            kernel = KERNELS.get(operation.kind)
            if kernel is not None:
                missing |= {f"{operation.kind}({name})" for name in operation.inputs if name not in kernel.conversions}
            elif operation.kind not in _STRUCTURAL:
                missing.add(operation.kind)
        return sorted(missing)

    def operator_counts(self) -> dict[str, int]:
        """Return how often each operator occurs, constants left out."""
        return dict(Counter(o.kind for o in self.program.block.walk() if o.kind != "const"))

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the program.

        Args:
            inputs: By name. An image is RGB or grey uint8, (H, W, 3), (1, H, W, 3) or (H, W), and of the declared size;
                an array has the shape that the program declares.

        Returns:
            Outputs by name: arrays, a class label, or a dict of label to number.

        Raises:
            ValueError: If an operator is unknown, or an input is missing, unknown or of another shape.
        """
        values = self._run(inputs, keep=False)
        return {name: _plain(values[name]) for name in self.program.block.outputs}

    def evaluate(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the program and return every value in it, constants included, by name."""
        return {name: _plain(value) for name, value in self._run(inputs, keep=True).items()}

    def _run(self, inputs: Mapping[str, Any], keep: bool) -> dict[str, Any]:
        if self._frees is None and (unknown := self.unsupported()):
            raise ValueError(f"{self.source}: operators not known to the interpreter: {', '.join(unknown)}")
        with torch.no_grad():
            prepared = self._prepare(inputs)
            if self._frees is None:
                self._constants = _fold_constants(self.program.block)
                self._frees = _last_uses(self.program.block)
            values = self._constants | prepared
            _run_block(self.program.block, values, keep or self._frees)
        return values

    def _prepare(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        names = [feature.name for feature in self.inputs]
        if sorted(inputs) != sorted(names):
            raise ValueError(f"{self.source}: inputs are {', '.join(names)}; got {', '.join(sorted(inputs)) or 'none'}")
        return {f.name: _as_input(f, inputs[f.name], self.program.input_types.get(f.name)) for f in self.inputs}


def load(path: str | Path, function: str | None = None) -> MilModel:
    """Open an .mlpackage or .mlmodel that holds an ML program; `function` chooses one of several.

    Raises:
        ValueError: If the file is missing, damaged or holds no ML program.
    """
    return MilModel(read_program(path, function), str(path))


def _as_input(feature: Feature, value: Any, dtype: torch.dtype | None) -> Tensor:
    if feature.kind == "image":
        return _as_image(feature, np.asarray(value)).to(dtype or torch.float32)
    if feature.kind not in ("array", "number"):
        raise ValueError(f"input {feature.name!r} is a {feature.kind}, which the interpreter cannot feed")
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    if feature.shape and tuple(tensor.shape) != feature.shape:
        raise ValueError(f"input {feature.name!r} has shape {list(tensor.shape)}; expected {list(feature.shape)}")
    return tensor.to(dtype or torch.float32)


def _as_image(feature: Feature, pixels: np.ndarray) -> Tensor:
    """Lay an image out as the program wants it: (1, C, H, W), in the declared order of colours."""
    is_gray = feature.color == "GRAYSCALE"
    shape = feature.shape if is_gray else (*feature.shape, 3)
    if pixels.ndim == len(shape) + 1 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.shape != shape or pixels.dtype != np.uint8:
        wanted = f"expected uint8 {list(shape)}"
        raise ValueError(f"image {feature.name!r} is {pixels.dtype} {list(pixels.shape)}; {wanted}")
    channels = pixels[None] if is_gray else pixels.transpose(2, 0, 1)
    channels = channels[::-1] if feature.color == "BGR" else channels
    return torch.from_numpy(np.ascontiguousarray(channels))[None]


def _fold_constants(block: Block) -> dict[str, Any]:
    """Return every value that no input reaches: constants, decompressed and dequantized weights."""
    known: dict[str, Any] = {}
    for operation in block.operations:
        if operation.kind in KERNELS or operation.kind == "const":
            names = [v.name for values in operation.inputs.values() for v in values if isinstance(v, Reference)]
            if all(name in known for name in names):
                _run_operation(operation, known)
    return known


def _last_uses(block: Block) -> dict[int, list[str]]:
    """Return, by position, the names that no later operator needs; outputs are always needed."""
    last: dict[str, int] = {}
    for position, operation in enumerate(block.operations):
        for inner in [operation, *(o for b in operation.blocks for o in b.walk())]:
            for values in inner.inputs.values():
                last.update({v.name: position for v in values if isinstance(v, Reference)})
        for inner_block in operation.blocks:
            last.update(dict.fromkeys(inner_block.outputs, position))
    frees: dict[int, list[str]] = {}
    for name, position in last.items():
        if name not in block.outputs:
            frees.setdefault(position, []).append(name)
    return frees


def _run_block(block: Block, values: dict[str, Any], frees: dict[int, list[str]] | bool = True) -> list[Any]:
    """Run a block's operators; `frees` says what to forget after each, True keeps everything."""
    for position, operation in enumerate(block.operations):
        if not all(output.name in values for output in operation.outputs):
            _run_operation(operation, values)
        if isinstance(frees, dict):
            for name in frees.get(position, ()):
                values.pop(name, None)
    return [values[name] for name in block.outputs]


def _run_operation(operation: Operation, values: dict[str, Any]) -> None:
    if operation.kind == "const":
        values[operation.name] = operation.value
        return
    arguments = {name: _argument(entries, values) for name, entries in operation.inputs.items()}
    results: Sequence[Any]
    if operation.kind == "classify":
        results = _classify(arguments["probabilities"], arguments["classes"])
    elif operation.kind == "cond":
        taken = operation.blocks[0 if bool(arguments["pred"]) else 1]
        results = _run_block(taken, dict(values))
    elif operation.kind == "while_loop":
        results = _while_loop(operation, values)
    else:
        results = _call(operation, arguments)
    for declared, result in zip(operation.outputs, results, strict=True):
        values[declared.name] = result


def _argument(entries: list[Any], values: Mapping[str, Any]) -> Any:
    found = [values[entry.name] if isinstance(entry, Reference) else entry for entry in entries]
    return found[0] if len(found) == 1 else found


def _call(operation: Operation, arguments: dict[str, Any]) -> Sequence[Any]:
    """Run one kernel in float32 and give its results the types that the program declares."""
    kernel = KERNELS[operation.kind]
    if absent := kernel.required - arguments.keys():
        raise ValueError(f"operator {operation.kind} {operation.name!r} lacks its input {', '.join(sorted(absent))}")
    if "values" in arguments and not isinstance(arguments["values"], list):
        arguments["values"] = [arguments["values"]]
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


def _while_loop(operation: Operation, values: dict[str, Any]) -> list[Any]:
    condition, body = operation.blocks
    state = [_argument([entry], values) for entry in operation.inputs["loop_vars"]]
    for _ in range(_MAX_LOOPS):
        if not bool(_run_block(condition, values | dict(zip(condition.inputs, state, strict=True)))[0]):
            return state
        state = _run_block(body, values | dict(zip(body.inputs, state, strict=True)))
    raise ValueError(f"operator while_loop {operation.name!r} does not end within {_MAX_LOOPS} rounds")


def _classify(probabilities: Tensor, classes: Any) -> list[Any]:
    labels = classes if isinstance(classes, list) else classes.tolist()
    scores = probabilities.float().reshape(-1).tolist()
    best = max(range(len(labels)), key=scores.__getitem__)
    return [labels[best], dict(zip(labels, scores, strict=True))]


def _plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
