"""The manifest: what an app, a checker or a report must know about an artefact, in one JSON file beside it."""

import json
import math
import os
import tempfile
import types
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from converters.checksum import files_within, sha256_file

SCHEMA_VERSION = 1
MAX_SQNR_DB = 200.0
_MAY_BE_ABSENT = {"may_be_absent": True}  # fields that came later; older manifests stay readable


def storable_db(decibels: float) -> float:
    """Return decibels as JSON can hold them: without noise they are infinite and count as `MAX_SQNR_DB`; NaN stays."""
    return decibels if math.isnan(decibels) else max(-MAX_SQNR_DB, min(MAX_SQNR_DB, decibels))


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInfo:
    """Where the weights came from: a file, an address or "random", and the checksum of the file."""

    source: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """The function that makes a network of the user's own, and the checksum of the file that it stands in."""

    source: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLabel:
    """One class, at its place in the logits."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputInfo:
    """What to feed. `normalization` says who applies mean and std: the file itself ("inside") or the caller.

    `resize` is the length of the shorter side before the centre crop, of a rectangle that of the box which the picture
    covers, see calibration/preprocess.py. `takes` says in words what a program hands over, how many pictures at once,
    and what system that needs. With `free_batch` (left out where it is false) the first axis of `shape` may be any.
    """

    name: str
    layout: Literal["NHWC", "NCHW"]
    shape: tuple[int, ...]
    dtype: Literal["uint8", "int8", "float32", "float16"]
    value_range: tuple[float, float]
    color: Literal["RGB"]
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    crop_pct: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalization: Literal["inside", "caller"]
    takes: str = field(default="", metadata=_MAY_BE_ABSENT)
    free_batch: bool = field(default=False, metadata=_MAY_BE_ABSENT)

    def __post_init__(self) -> None:
        channels = 3 if self.layout == "NHWC" else 1
        if len(self.shape) != 4 or min(self.shape) < 1 or self.shape[channels] != 3:
            raise ValueError(f"input.shape {list(self.shape)} is no {self.layout} picture of three channels")

    @property
    def height(self) -> int:
        return self.shape[1] if self.layout == "NHWC" else self.shape[2]

    @property
    def width(self) -> int:
        return self.shape[2] if self.layout == "NHWC" else self.shape[3]

    def preprocess_fields(self) -> dict[str, Any]:
        """Return what `calibration.preprocess.Preprocess(**...)` needs to make this input's pixels."""
        names = ("crop_pct", "interpolation", "mean", "std")
        resolution = self.height if self.height == self.width else (self.height, self.width)
        return {"resolution": resolution} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputInfo:
    """What comes out: logits, probabilities that add up to 1, or a backbone's last map; `features` names all maps."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "float16", "int8", "uint8"]
    kind: Literal["logits", "probabilities", "features"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """One output of a backbone, float; a pixel of it spans `stride` pixels of the picture.

    `sqnr_db` is the file against the float model, on the pictures of `verification`; null before it is verified.
    """

    name: str
    shape: tuple[int, ...]
    layout: Literal["NCHW"]
    dtype: Literal["float32"]
    channels: int
    stride: int
    sqnr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """The artefact itself; `name` without a folder, since manifest and artefact travel together."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NpuFile:
    """The artefact compiled ahead of time for one chip's NPU: how many operators that takes, in how many pieces."""

    chip: str
    vendor: str
    file: FileInfo
    offloaded: int
    total: int
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorsInfo:
    """Operators by type and precision, {"CONV_2D": {"int8": 4}}, and where the graph leaves the integers.

    `delegate_calls` counts how often the runtime hands over to its fast path, null where that is not known; `outside`
    names every operator that it does not hand over, with the reason.
    """

    counts: dict[str, dict[str, int]]
    quantize: int
    dequantize: int
    float_islands: tuple[str, ...]
    delegate_calls: int | None = field(default=None, metadata=_MAY_BE_ABSENT)
    outside: tuple[str, ...] = field(default=(), metadata=_MAY_BE_ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The artefact's outputs against torch's on the same inputs; `data` says on what.

    `sqnr_db` is finite: equal outputs count as `MAX_SQNR_DB`. Of several outputs it is the lowest; these have no top-1.
    Of probabilities it is that of the logits that they tell.
    """

    sqnr_db: float
    top1_agreement: float | None
    num_images: int
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One artefact. `verification_reason` says why `verification` is null, and is null when it is not.

    `processor` is what the file was made for; it runs on others too, more slowly or less exactly. `network` (left out
    where it is null) is for a network that is none of our variants; `model` is then its function.
    """

    model: str
    precision: Literal["fp32", "fp16", "int8_ptq", "int8_qat", "int16_ptq", "int16_qat"]
    target: Literal["tflite", "executorch", "coreml", "onnx"]
    backend: str
    weights: WeightsInfo
    classes: tuple[ClassLabel, ...]
    input: InputInfo
    output: OutputInfo
    file: FileInfo
    operators: OperatorsInfo
    delegated_nodes: int | None
    total_nodes: int
    verification: Verification | None
    verification_reason: str | None = None
    quantization: dict[str, Any] = field(default_factory=dict)
    tool_versions: dict[str, str] = field(default_factory=dict)
    command: str
    processor: Literal["cpu", "npu", "gpu"] = field(default="cpu", metadata=_MAY_BE_ABSENT)
    features: tuple[FeatureMap, ...] = field(default=(), metadata=_MAY_BE_ABSENT)
    npu_files: tuple[NpuFile, ...] = field(default=(), metadata=_MAY_BE_ABSENT)
    network: NetworkInfo | None = field(default=None, metadata=_MAY_BE_ABSENT)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(_other_schema(self.schema_version))
        if (self.verification is None) != (self.verification_reason is not None):
            raise ValueError("verification_reason must say why verification is null, and only then")
        if (self.output.kind == "features") != bool(self.features):
            raise ValueError(f"{len(self.features)} feature maps for an output of kind {self.output.kind}")
        if not self.features and self.output.shape[-1] != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes for an output of shape {list(self.output.shape)}")

    def to_json(self) -> str:
        """Return the manifest as indented JSON text."""
        data = asdict(self)
        if not self.input.free_batch:
            del data["input"]["free_batch"]
        if self.network is None:
            del data["network"]
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse a manifest, strictly.

        Raises:
            ValueError: If this is no JSON, a field is missing, unknown or of another type, or the schema is not ours.
        """
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except RecursionError as e:
            raise ValueError("not valid JSON (brackets nest too deeply)") from e
        except ValueError as e:
            raise ValueError(f"not valid JSON ({e})") from e
        version = data.get("schema_version", SCHEMA_VERSION) if isinstance(data, dict) else SCHEMA_VERSION
        if version != SCHEMA_VERSION:  # Said first: another schema also has other fields.
            raise ValueError(_other_schema(version))
        return _parse(cls, data, "")


def _other_schema(version: Any) -> str:
    return f"schema_version {version!r} is unknown here; this version reads {SCHEMA_VERSION}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def manifest_path(artefact: str | Path) -> Path:
    """Return where the manifest of an artefact lies: its whole name with .json, so that targets can share a folder."""
    artefact = Path(artefact)
    return artefact.with_name(artefact.name + ".json")


def save(manifest: Manifest, artefact: str | Path) -> Path:
    """Write the manifest beside its artefact, completely or not at all, and return its path."""
    path = manifest_path(artefact)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(manifest.to_json())
        os.chmod(temporary, 0o644)  # mkstemp's files are private; a manifest travels with its artefact.
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def load(path: str | Path) -> Manifest:
    """Read a manifest file; errors name it."""
    path = Path(path)
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as e:
        raise ValueError(f"{path}: no such manifest") from e
    except OSError as e:
        raise ValueError(f"{path}: cannot be read ({e.strerror})") from e
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from e


def load_for(artefact: str | Path) -> Manifest:
    """Read the manifest of an artefact and check that it describes exactly this file.

    Raises:
        ValueError: If either is missing, the manifest is not valid, or name, size or checksum differ.
    """
    artefact = Path(artefact)
    if not artefact.exists():
        raise ValueError(f"{artefact}: no such artefact")
    path = manifest_path(artefact)
    if not path.exists():
        raise ValueError(f"{artefact}: its manifest {path.name} is missing; convert again, or keep the two together")
    manifest = load(path)
    if manifest.file.name != artefact.name:
        described = manifest.file.name
        raise ValueError(f"{path}: describes {described}, not {artefact.name}; keep each manifest beside its own file")
    actual = describe_file(artefact)
    if actual != manifest.file:
        raise ValueError(f"{artefact}: not the file that {path.name} describes (sha256 differs); convert again")
    return manifest


def describe_file(path: str | Path) -> FileInfo:
    """Return name, size and checksum of an artefact, a file or a folder such as an .mlpackage."""
    path = Path(path)
    num_bytes = sum(p.stat().st_size for p in files_within(path)) if path.is_dir() else path.stat().st_size
    return FileInfo(name=path.name, num_bytes=num_bytes, sha256=sha256_file(path))


def _parse(kind: Any, data: Any, where: str) -> Any:
    """Check `data` against a type annotation and build what it says; `where` is the path of field names."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if is_dataclass(kind):
        return _parse_dataclass(kind, data, where)
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in args if arg is not type(None))
        return None if data is None else _parse(inner, data, where)
    if origin is Literal:
        if data not in args:
            raise ValueError(f"{where} is {data!r}; allowed are {', '.join(map(str, args))}")
        return data
    if origin is tuple:
        items = _expect(data, list, where, "a list")
        kinds = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
        if len(items) != len(kinds):
            raise ValueError(f"{where} has {len(items)} values; expected {len(kinds)}")
        return tuple(_parse(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(kinds, items, strict=True)))
    if origin is dict:
        entries = _expect(data, dict, where, "an object")
        return {key: _parse(args[1], value, f"{where}.{key}") for key, value in entries.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return _expect(data, kind, where, names[kind])


def _parse_dataclass(kind: Any, data: Any, where: str) -> Any:
    entries = _expect(data, dict, where or "the manifest", "an object")
    known = {f.name for f in fields(kind)}
    prefix = f"{where}." if where else ""
    if unknown := sorted(set(entries) - known):
        raise ValueError(f"unknown field {prefix}{unknown[0]}; known are {', '.join(sorted(known))}")
    if missing := [f.name for f in fields(kind) if f.name not in entries and not f.metadata.get("may_be_absent")]:
        raise ValueError(f"field {prefix}{missing[0]} is missing")
    hints = get_type_hints(kind)
    return kind(**{name: _parse(hints[name], value, prefix + name) for name, value in entries.items()})


def _expect(data: Any, kind: type, where: str, name: str) -> Any:
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        shown = json.dumps(data, ensure_ascii=False)
        raise ValueError(f"{where} is {shown[:60]}; expected {name}")
    return data
