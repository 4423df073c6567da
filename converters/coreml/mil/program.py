"""An ML program as plain data: what an .mlpackage or .mlmodel holds, with its constants as tensors."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.coreml.mil.messages import model_messages

# MIL's data types by their number: how numpy reads them as stored, and the type in which torch computes.
_DTYPES: dict[int, tuple[str, torch.dtype]] = {
    1: ("u1", torch.bool), 10: ("<f2", torch.float16), 11: ("<f4", torch.float32), 21: ("i1", torch.int8),
    22: ("<i2", torch.int16), 23: ("<i4", torch.int32), 31: ("u1", torch.uint8),
}  # fmt: skip
_STRING = 2
_RGB = 20
_BLOB_SENTINEL = 0xDEADBEEF


@dataclass(frozen=True, slots=True)
class Feature:
    """One input as an app sees it: an "image", RGB, whose shape is (height, width), or what Core ML calls it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Result:
    """One value that an operator gives; `dtype` and `shape` are None for anything but a tensor."""

    name: str
    dtype: torch.dtype | None
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Reference:
    """An operator's input that is another value."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator. An input is a list of names and constants, several where the operator takes a tuple."""

    kind: str
    inputs: dict[str, list[Any]]
    outputs: tuple[Result, ...]
    value: Any = None

    @property
    def name(self) -> str:
        """The name of the first value that it gives."""
        return self.outputs[0].name

    def reads(self) -> list[str]:
        """Return the names of the values that it takes, constants written into it left out."""
        return [v.name for values in self.inputs.values() for v in values if isinstance(v, Reference)]


@dataclass(frozen=True, slots=True)
class Program:
    """What goes in, the operators in order, and the names of what comes out."""

    inputs: tuple[Feature, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def producers(self) -> dict[str, Operation]:
        """Return who gives each value, by the value's name."""
        return {output.name: operation for operation in self.operations for output in operation.outputs}

    def readers(self) -> dict[str, list[Operation]]:
        """Return who reads each value, by the value's name; one that nobody reads is left out."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in operation.reads():
                found.setdefault(name, []).append(operation)
        return found


def read_program(path: str | Path) -> Program:
    """Read the ML program of an .mlpackage or .mlmodel; of several functions, the default one.

    Raises:
        ValueError: If the file is missing, damaged, or no ML program.
        ImportError: If coremltools is not installed; the message names the extra.
    """
    messages = model_messages()
    from google.protobuf.message import DecodeError  # comes with coremltools

    path = Path(path)
    model_file = _model_file(path)
    model = messages.Model()
    try:
        model.ParseFromString(model_file.read_bytes())
        program = _program(model, model_file.parent)
        _check_order(program)
    except DecodeError as e:
        raise ValueError(f"{path}: not a Core ML model ({e})") from e
    except OSError as e:
        raise ValueError(f"{path}: cannot be read ({e.strerror}: {e.filename})") from e
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from e
    return program


def _model_file(path: Path) -> Path:
    """Return the file that holds the model: itself, or what an .mlpackage's Manifest.json names as its root."""
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    if path.is_file():
        return path
    try:
        manifest = json.loads((path / "Manifest.json").read_text(encoding="utf-8"))
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        return path / "Data" / entry["path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise ValueError(f"{path}: not an .mlpackage (its Manifest.json names no model)") from e


def _program(model: Any, folder: Path) -> Program:
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        raise ValueError(f"holds {kind or 'nothing'}, no ML program; convert the model with convert_to='mlprogram'")
    functions, name = model.mlProgram.functions, model.description.defaultFunctionName or "main"
    if name not in functions:
        raise ValueError(f"has no function {name!r}; it has {', '.join(sorted(functions)) or 'none'}")
    function = functions[name]
    if function.opset not in function.block_specializations:
        raise ValueError(f"function {name!r} has no block for its opset {function.opset!r}")
    block = function.block_specializations[function.opset]
    dtypes = {entry.name: _tensor_type(entry.type)[0] for entry in function.inputs}
    weights = _Weights(folder)
    return Program(
        inputs=tuple(_feature(entry, dtypes.get(entry.name)) for entry in model.description.input),
        operations=tuple(_operation(message, weights) for message in block.operations),
        outputs=tuple(block.outputs),
    )


def _check_order(program: Program) -> None:
    """Refuse a program that reads what nothing before has given."""
    known = {feature.name for feature in program.inputs}
    for operation in program.operations:
        _require(operation.reads(), known, f"operator {operation.kind} {operation.name!r}")
        known.update(output.name for output in operation.outputs)
    _require(program.outputs, known, "the program's output")


def _require(names: Iterable[str], known: set[str], reader: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{reader} needs {name!r}, which nothing gives; the file is damaged")


def _feature(entry: Any, dtype: torch.dtype | None) -> Feature:
    which, dtype = entry.type.WhichOneof("Type") or "nothing", dtype or torch.float32
    if which == "imageType":
        image = entry.type.imageType
        if image.colorSpace != _RGB:
            raise ValueError(f"image {entry.name!r} is not RGB, the only kind of picture that is read here")
        return Feature(entry.name, "image", (image.height, image.width), dtype)
    if which == "multiArrayType":
        return Feature(entry.name, "array", tuple(entry.type.multiArrayType.shape), dtype)
    return Feature(entry.name, which.removesuffix("Type"), (), dtype)


def _tensor_type(kind: Any) -> tuple[torch.dtype | None, tuple[int, ...] | None]:
    """Return dtype and shape of a value type; None for what is no tensor, and a shape of None when it is not fixed."""
    if kind.WhichOneof("type") != "tensorType":
        return None, None
    dimensions = kind.tensorType.dimensions
    is_fixed = all(d.WhichOneof("dimension") == "constant" for d in dimensions)
    dtype = _DTYPES[kind.tensorType.dataType][1] if kind.tensorType.dataType in _DTYPES else None
    return dtype, tuple(d.constant.size for d in dimensions) if is_fixed else None


def _operation(message: Any, weights: "_Weights") -> Operation:
    if not message.outputs:
        raise ValueError(f"operator {message.type!r} gives nothing; the file is damaged")
    inputs: dict[str, list[Any]] = {}
    for name, argument in message.inputs.items():
        bindings = [(b, b.WhichOneof("binding") == "value") for b in argument.arguments]
        inputs[name] = [_value(b.value, weights) if is_value else Reference(b.name) for b, is_value in bindings]
    if message.type.startswith("constexpr_"):  # iOS 16 and 17 keep what these decompress in attributes
        inputs |= {name: [_value(value, weights)] for name, value in message.attributes.items() if name != "name"}
    is_constant = message.type == "const" and "val" in message.attributes
    return Operation(
        kind=message.type,
        inputs=inputs,
        outputs=tuple(Result(output.name, *_tensor_type(output.type)) for output in message.outputs),
        value=_value(message.attributes["val"], weights) if is_constant else None,
    )


def _value(message: Any, weights: "_Weights") -> Any:
    """Return a tensor, a text, or a list of values."""
    immediate = message.immediateValue
    if immediate.WhichOneof("value") == "list":
        return [_value(v, weights) for v in immediate.list.values]
    if message.type.WhichOneof("type") != "tensorType":
        raise ValueError("a constant has a type that is no tensor or list")
    code = message.type.tensorType.dataType
    shape = tuple(d.constant.size for d in message.type.tensorType.dimensions)
    if code == _STRING:
        texts = list(immediate.tensor.strings.values)
        return texts if shape else "".join(texts)
    if code not in _DTYPES:
        raise ValueError(f"a constant has data type {code}, which is not known here")
    if message.WhichOneof("value") == "blobFileValue":
        return _tensor(weights.read(message.blobFileValue), code, shape)
    kind = immediate.tensor.WhichOneof("value")
    values: Any = getattr(immediate.tensor, kind).values if kind else ()
    if kind == "bytes":
        return _tensor(np.frombuffer(values, np.uint8), code, shape)
    return _shaped(np.array(values, np.float64), shape).to(_DTYPES[code][1])


def _tensor(raw: np.ndarray, code: int, shape: tuple[int, ...]) -> torch.Tensor:
    stored, dtype = _DTYPES[code]
    return _shaped(raw.copy().view(stored), shape).to(dtype)


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    if array.size != math.prod(shape):
        raise ValueError(f"a constant of shape {list(shape)} has {array.size} values; the file is damaged")
    return torch.from_numpy(array.reshape(shape))


class _Weights:
    """A package's weight files, opened when a weight is first read from them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, np.memmap] = {}

    def read(self, blob: Any) -> np.ndarray:
        """Return the bytes of one entry: 64 bytes that say size and place, then the values at that place."""
        name = blob.fileName.removeprefix("@model_path/")
        if name not in self._files:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder.resolve()):
                raise ValueError(f"the weight file {name} lies outside the package")
            self._files[name] = np.memmap(path, np.uint8, mode="r")
        data = self._files[name]
        header = bytes(data[blob.offset : blob.offset + 32])
        if len(header) < 32 or int.from_bytes(header[:4], "little") != _BLOB_SENTINEL:
            raise ValueError(f"{name} has no weight at offset {blob.offset}; the file is damaged")
        size, start = int.from_bytes(header[8:16], "little"), int.from_bytes(header[16:24], "little")
        if start + size > len(data):
            raise ValueError(f"{name} ends before the weight at offset {blob.offset} does; the file is cut off")
        return np.asarray(data[start : start + size])
