"""What can be converted to: a target, the backend that makes its file, and how that backend is asked.

Importing this loads no runtime; a converter is imported when its target is chosen.
"""

import difflib
import functools
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from converters.card import ModelCard

if TYPE_CHECKING:
    from converters.executorch.backends import Backend

Precision = Literal["fp32", "fp16", "int8", "int16"]
Output = Literal["logits", "probabilities"]
Io = Literal["uint8", "int8"]
ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a converter's options are made from.

    Attributes:
        card: What the file says of itself.
        outputs: The names of what it gives: logits, probabilities, or a backbone's maps.
        facts: How a picture becomes an input, for files that can carry it: name -> text, number, or several of these.
        float_between: In which precision Core ML computes between the integers.
        etrecord: Where ExecuTorch is to leave its ETRecord.
        is_free_batch: Take any number of pictures at once, where the format can.
        has_floats, has_plain_constants: As of the processor that the file is for.
        io: "uint8" takes pixels and gives floats; "int8" takes pixels less 128 and gives integers.
    """

    precision: Precision
    card: ModelCard = field(default_factory=ModelCard)
    outputs: tuple[str, ...] = ("logits",)
    facts: Mapping[str, Any] = field(default_factory=dict)
    float_between: Literal["fp16", "fp32"] = "fp16"
    etrecord: Path | None = None
    is_free_batch: bool = False
    has_floats: bool = True
    has_plain_constants: bool = False
    io: Io = "uint8"


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSpec:
    """One backend of a target: its converter, file suffix, precisions and options.

    Attributes:
        module: Imported when the target is chosen.
        extra: What of edge_vit's extras installs `packages`, which the module needs.
        runs_on: Where its files run, "" if on this machine too: what does not is not verified.
    """

    module: str
    extra: str
    packages: tuple[str, ...]
    suffix: str
    precisions: tuple[Precision, ...]
    options: Callable[[Request], Any]
    runs_on: str = ""


def _tflite(request: Request) -> Any:
    from converters.tflite.lower import TFLiteOptions

    return TFLiteOptions(
        half_precision=request.precision == "fp16",
        has_floats=request.has_floats,
        has_plain_constants=request.has_plain_constants,
        is_wide=request.precision == "int16",
        io=request.io,
        outputs=request.outputs,
        card=request.card,
    )


def _executorch(request: Request, backend: "Backend" = "xnnpack") -> Any:
    from converters.executorch.lower import ExecuTorchOptions

    card = request.card
    texts = {
        "model": card.name,
        "description": card.description,
        "version": card.version,
        "author": card.author,
        "license": card.license,
    }
    known = {name: text for name, text in texts.items() if text}
    facts = {**known, "classes": card.labels, "outputs": request.outputs, **request.facts}
    return ExecuTorchOptions(backend=backend, etrecord=request.etrecord, facts=facts)


def _coreml(request: Request) -> Any:
    from converters.coreml.lower import CoreMLOptions

    between = request.float_between if request.precision == "int8" else request.precision
    return CoreMLOptions(
        float_precision=between,  # type: ignore[arg-type]
        outputs=request.outputs,
        card=request.card,
    )


def _onnx(request: Request) -> Any:
    from converters.onnx.lower import OnnxOptions

    return OnnxOptions(
        half_precision=request.precision == "fp16",
        is_free_batch=request.is_free_batch,
        outputs=request.outputs,
        card=request.card,
        facts=request.facts,
    )


# (target, backend) -> how. A target's first backend is its default.
TARGETS: dict[tuple[str, str], TargetSpec] = {
    ("tflite", "litert-torch"): TargetSpec(
        module="converters.tflite.lower",
        extra="tflite",
        packages=("litert_torch", "ai_edge_litert"),
        suffix=".tflite",
        precisions=("fp32", "fp16", "int8", "int16"),
        options=_tflite,
    ),
    ("tflite", "onnx2tf"): TargetSpec(
        module="converters.onnx2tf.lower",
        extra="onnx",
        packages=("onnx", "onnxscript", "ai_edge_litert"),
        suffix=".tflite",
        precisions=("fp32", "fp16", "int8"),
        options=_tflite,
    ),
    ("executorch", "xnnpack"): TargetSpec(
        module="converters.executorch.lower",
        extra="executorch",
        packages=("executorch",),
        suffix=".pte",
        precisions=("fp32", "int8"),
        options=_executorch,
    ),
    ("executorch", "coreml"): TargetSpec(
        module="converters.executorch.lower",
        extra="executorch,coreml",
        packages=("executorch", "coremltools"),
        suffix=".pte",
        precisions=("fp32",),
        options=functools.partial(_executorch, backend="coreml"),
        runs_on="Apple's systems",
    ),
    ("executorch", "vulkan"): TargetSpec(
        module="converters.executorch.lower",
        extra="executorch",
        packages=("executorch",),
        suffix=".pte",
        precisions=("fp32",),
        options=functools.partial(_executorch, backend="vulkan"),
        runs_on="an ExecuTorch built with Vulkan",
    ),
    ("coreml", "coremltools"): TargetSpec(
        module="converters.coreml.lower",
        extra="coreml",
        packages=("coremltools",),
        suffix=".mlpackage",
        precisions=("fp32", "fp16", "int8"),
        options=_coreml,
    ),
    ("onnx", "torch"): TargetSpec(
        module="converters.onnx.lower",
        extra="onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
        suffix=".onnx",
        precisions=("fp32", "fp16", "int8", "int16"),
        options=_onnx,
    ),
}


def target_names() -> tuple[str, ...]:
    """Return every target once."""
    return tuple(dict.fromkeys(target for target, _ in TARGETS))


def backends_of(target: str) -> tuple[str, ...]:
    """Return a target's backends, the default first."""
    return tuple(backend for name, backend in TARGETS if name == target)


def find_backends(target: str, backend: str, precision: Precision) -> tuple[tuple[str, str], ...]:
    """Return the keys of TARGETS that a command asks for: one, or one a target for "all".

    Args:
        backend: "" for the target's default.

    Raises:
        ValueError: If there is no such target, backend or precision.
    """
    names = target_names()
    if target != ALL and target not in names:
        near = difflib.get_close_matches(target, (*names, ALL), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown target {target!r}; choose from {', '.join(names)}, {ALL}{hint}")
    if target == ALL and backend:
        raise ValueError(f"--backend {backend} belongs to one target; name it with --target in place of {ALL}")
    pairs = [(name, backend or backends_of(name)[0]) for name in (names if target == ALL else (target,))]
    for name, chosen in pairs:
        if (name, chosen) not in TARGETS:
            raise ValueError(f"{name} has no backend {chosen!r}; it has {', '.join(backends_of(name))}")
        allowed = TARGETS[name, chosen].precisions
        if precision not in allowed:
            whose = f"--backend {backend}" if backend else name
            raise ValueError(f"{whose} has no {precision}; it has {', '.join(allowed)}")
    return tuple(pairs)


def check_installed(target: str, backend: str) -> None:
    """Raise ImportError, naming what to install, where a backend's packages are missing; none is imported."""
    spec = TARGETS[target, backend]
    missing = [name for name in spec.packages if importlib.util.find_spec(name) is None]
    if missing:
        what = f"{target} needs packages that are not installed ({', '.join(missing)})"
        raise ImportError(f"{what}; run: pip install 'edge_vit[{spec.extra}]'", name=missing[0])
