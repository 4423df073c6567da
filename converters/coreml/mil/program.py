"""An ML program as plain data: what an .mlpackage or .mlmodel holds, with its constants as tensors."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from converters.coreml.mil import wire

_FLOAT16, _STRING, _BOOL = 10, 2, 1

# MIL data type -> (numpy type as stored, bits where values are packed, type in which torch computes)
_DTYPES: dict[int, tuple[str, int, torch.dtype]] = {
    _BOOL: ("u1", 0, torch.bool), _FLOAT16: ("<f2", 0, torch.float16), 11: ("<f4", 0, torch.float32),
    12: ("<f8", 0, torch.float64), 21: ("i1", 0, torch.int8), 22: ("<i2", 0, torch.int16), 23: ("<i4", 0, torch.int32),
    24: ("<i8", 0, torch.int64), 25: ("i1", 4, torch.int8), 31: ("u1", 0, torch.uint8), 32: ("<u2", 0, torch.int32),
    33: ("<u4", 0, torch.int64), 34: ("<u8", 0, torch.int64), 35: ("u1", 4, torch.uint8), 36: ("u1", 2, torch.uint8),
    37: ("u1", 1, torch.uint8), 38: ("u1", 6, torch.uint8), 39: ("u1", 3, torch.uint8),
}  # fmt: skip
_BLOB_SENTINEL = 0xDEADBEEF
_COLOR_SPACES = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE"}


@dataclass(frozen=True, slots=True)
class Feature:
    """One input or output as an app sees it; `shape` of an image is (height, width)."""

    name: str
    kind: Literal["image", "array", "text", "dictionary", "number", "state"]
    shape: tuple[int, ...] = ()
    color: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One value that an operator produces; `dtype` is None for anything but a tensor."""

    name: str
    dtype: torch.dtype | None
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator. An input is a list of names and constants, several where the operator takes a tuple."""

    kind: str
    inputs: dict[str, list[Any]]
    outputs: list[Result]
    blocks: list["Block"]
    value: Any = None

    @property
    def name(self) -> str:
        return self.outputs[0].name if self.outputs else self.kind


@dataclass(frozen=True, slots=True)
class Reference:
    """An operator's input that is another value."""

    name: str


@dataclass(frozen=True, slots=True)
class Block:
    """Operators in order, and the names of what they return."""

    inputs: list[str]
    operations: list[Operation]
    outputs: list[str]

    def walk(self) -> Iterator[Operation]:
        """Yield every operator, those of inner blocks included."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


@dataclass(frozen=True, slots=True)
class Program:
    """One function of an ML program with its interface.

    `input_types` are the dtypes in which the program wants its inputs.
    """

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    input_types: dict[str, torch.dtype]
    block: Block
    opset: str
    label_name: str
    probabilities_name: str
    metadata: dict[str, str]


def read_program(path: str | Path, function: str | None = None) -> Program:
    """Read one function of an .mlpackage or .mlmodel; by default the one that the file names as its default.

    Raises:
        ValueError: If the file is missing, damaged, or no ML program.
    """
    path = Path(path)
    model_file = _model_file(path)
    try:
        model = wire.decode(model_file.read_bytes(), "Model")
        return _program(model, model_file.parent, function)
    except wire.WireError as e:
        raise ValueError(f"{path}: not a Core ML model ({e})") from e
    except OSError as e:
        raise ValueError(f"{path}: cannot be read ({e.strerror}: {e.filename})") from e
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from e


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
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ValueError(f"{path}: not an .mlpackage (its Manifest.json names no model)") from e


def _program(model: dict[str, Any], folder: Path, function: str | None) -> Program:
    if "mlProgram" not in model:
        kind = next((key for key in model if key not in ("specificationVersion", "description")), "nothing")
        raise ValueError(f"holds {kind}, no ML program; convert the model with convert_to='mlprogram'")
    description = model.get("description", {})
    functions = model["mlProgram"].get("functions", {})
    name = function or description.get("defaultFunctionName") or "main"
    if name not in functions:
        raise ValueError(f"has no function {name!r}; choose from {', '.join(sorted(functions))}")
    interface = next((f for f in description.get("functions", []) if f.get("name") == name), description)
    body = functions[name]
    opset = body.get("opset", "")
    blocks = body.get("block_specializations", {})
    if opset not in blocks:
        raise ValueError(f"function {name!r} has no block for its opset {opset!r}")
    reader = _Reader(folder)
    metadata = description.get("metadata", {})
    texts = {k: v for k, v in metadata.items() if isinstance(v, str)} | metadata.get("userDefined", {})
    return Program(
        inputs=tuple(_feature(f) for f in interface.get("input", [])),
        outputs=tuple(_feature(f) for f in interface.get("output", [])),
        input_types={i["name"]: _tensor_type(i["type"])[0] or torch.float32 for i in body.get("inputs", [])},
        block=reader.block(blocks[opset]),
        opset=opset,
        label_name=interface.get("predictedFeatureName", ""),
        probabilities_name=interface.get("predictedProbabilitiesName", ""),
        metadata=texts,
    )


def _feature(entry: dict[str, Any]) -> Feature:
    kind, name = entry.get("type", {}), entry.get("name", "")
    if "imageType" in kind:
        image = kind["imageType"]
        color = _COLOR_SPACES.get(image.get("colorSpace", 0), "RGB")
        return Feature(name, "image", (image.get("height", 0), image.get("width", 0)), color)
    if "multiArrayType" in kind:
        return Feature(name, "array", tuple(kind["multiArrayType"].get("shape", [])))
    if "stateType" in kind:
        return Feature(name, "state")
    return Feature(name, "text" if "stringType" in kind else "dictionary" if "dictionaryType" in kind else "number")


def _tensor_type(kind: dict[str, Any]) -> tuple[torch.dtype | None, tuple[int, ...] | None]:
    """Return dtype and shape of a value type; None for what is no tensor, and a shape of None when it is not fixed."""
    kind = kind.get("stateType", {}).get("wrappedType", kind)
    if "tensorType" not in kind:
        return None, None
    tensor = kind["tensorType"]
    code = tensor.get("dataType", 0)
    dimensions = tensor.get("dimensions", [])
    shape = tuple(d.get("constant", {}).get("size", 0) for d in dimensions)
    known = all("constant" in d for d in dimensions)
    return _DTYPES[code][2] if code in _DTYPES else None, shape if known else None


class _Reader:
    """Turn decoded messages into operators; constants come from the message itself or from a weight file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, np.memmap] = {}

    def block(self, message: dict[str, Any]) -> Block:
        inputs = [i["name"] for i in message.get("inputs", [])]
        return Block(inputs, [self.operation(o) for o in message.get("operations", [])], message.get("outputs", []))

    def operation(self, message: dict[str, Any]) -> Operation:
        kind, attributes = message["type"], message.get("attributes", {})
        inputs = {
            name: [Reference(b["name"]) if "name" in b else self.value(b["value"]) for b in entry.get("arguments", [])]
            for name, entry in message.get("inputs", {}).items()
        }
        if kind.startswith("constexpr_"):  # iOS 16 keeps what these decompress in attributes
            inputs |= {name: [self.value(v)] for name, v in attributes.items() if name != "name"}
        outputs = [Result(o.get("name", ""), *_tensor_type(o.get("type", {}))) for o in message.get("outputs", [])]
        value = self.value(attributes["val"]) if kind == "const" and "val" in attributes else None
        return Operation(kind, inputs, outputs, [self.block(b) for b in message.get("blocks", [])], value)

    def value(self, message: dict[str, Any]) -> Any:
        """Return a tensor, a text, or a list of values."""
        immediate = message.get("immediateValue", {})
        if "list" in immediate or "tuple" in immediate:
            return [self.value(v) for v in (immediate.get("list") or immediate.get("tuple") or {}).get("values", [])]
        tensor = message.get("type", {}).get("tensorType")
        if tensor is None:
            raise ValueError("a constant has a type that is no tensor, list or tuple")
        code = tensor.get("dataType", 0)
        shape = tuple(d.get("constant", {}).get("size", 0) for d in tensor.get("dimensions", []))
        if code == _STRING:
            texts = immediate["tensor"].get("strings", {}).get("values", [""])
            return texts[0] if not shape else texts
        if code not in _DTYPES:
            raise ValueError(f"a constant has data type {code}, which is not known here")
        if "blobFileValue" in message:
            return self.from_file(message["blobFileValue"], code, shape)
        return _from_message(immediate.get("tensor", {}), code, shape)

    def from_file(self, blob: dict[str, Any], code: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Read one entry of a weight file: 64 bytes that say size and place, then the values at that place."""
        name = blob.get("fileName", "").removeprefix("@model_path/")
        if name not in self.files:
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder.resolve()):
                raise ValueError(f"the weight file {name} lies outside the package")
            self.files[name] = np.memmap(path, np.uint8, mode="r")
        data, at = self.files[name], blob.get("offset", 0)
        header = bytes(data[at : at + 32])
        if len(header) < 32 or int.from_bytes(header[:4], "little") != _BLOB_SENTINEL:
            raise ValueError(f"{name} has no weight at offset {at}; the file is damaged")
        size, start = int.from_bytes(header[8:16], "little"), int.from_bytes(header[16:24], "little")
        if start + size > len(data):
            raise ValueError(f"{name} ends before the weight at offset {at} does; the file is cut off")
        return _unpack(np.asarray(data[start : start + size]), code, shape)


def _from_message(tensor: dict[str, Any], code: int, shape: tuple[int, ...]) -> torch.Tensor:
    if "bytes" in tensor:
        return _unpack(np.frombuffer(tensor["bytes"].get("values", b""), np.uint8), code, shape)
    values: list[Any] = next((part.get("values", []) for part in tensor.values()), [])
    count = math.prod(shape)
    if len(values) == 1 and count != 1:
        values = values * count
    array = np.array(values or [0] * count)  # The wire format leaves out a zero, and so an empty message means zeros.
    return torch.from_numpy(array.reshape(shape)).to(_DTYPES[code][2])


def _unpack(raw: np.ndarray, code: int, shape: tuple[int, ...]) -> torch.Tensor:
    stored, bits, dtype = _DTYPES[code]
    count = math.prod(shape)
    if bits:
        array = unpack_bits(raw, bits, count)
        if stored == "i1":
            array = ((array.astype(np.int16) ^ (1 << bits - 1)) - (1 << bits - 1)).astype(np.int8)
    else:
        array = np.frombuffer(raw.tobytes(), stored)
    if array.size < count:
        raise ValueError(f"a constant of shape {list(shape)} has only {array.size} values; the file is damaged")
    array = array[:count]
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch computes with few unsigned types
        array = array.astype(np.int64)
    return torch.from_numpy(array.copy().reshape(shape)).to(dtype)


def unpack_bits(raw: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Spread values of `bits` bits, least significant first and across byte borders, to one uint8 each."""
    stream = np.unpackbits(raw.astype(np.uint8, copy=False), bitorder="little")[: bits * count].reshape(-1, bits)
    return np.packbits(stream, axis=1, bitorder="little").reshape(-1)
