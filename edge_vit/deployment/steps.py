"""The steps of a conversion: choose weights, quantize, then lower, describe and verify for each target."""

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from calibration.preprocess import Preprocess
from converters import manifest as manifests
from converters.artefact import open_artefact, run_maps
from converters.card import ModelCard
from converters.manifest import Manifest
from converters.passes.softmax import ends_in_softmax
from converters.result import ConversionResult
from converters.tflite.ahead import compile_ahead
from converters.tflite.chips import find_chips
from edge_vit.deployment.card import make_card
from edge_vit.deployment.pictures import Pictures, calibration_warnings
from edge_vit.deployment.targets import TARGETS, Io, Output, Precision, Request, backends_of
from edge_vit.deployment.verify import check_outputs, check_probabilities
from edge_vit.models.sources import WeightsSource
from edge_vit.models.user_code import file_of
from edge_vit.quantization.own_float import float_graph
from edge_vit.quantization.pipeline import (
    CalibrationMethod,
    FloatModel,
    QuantizedModel,
    build_quantized,
    pixel_batches,
    run_outputs,
)
from edge_vit.quantization.processors import CPU, Processor
from edge_vit.quantization.user_lines import blamed

Say = Callable[[str], None]
OutputKind = Literal["logits", "probabilities", "features"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lowerable:
    """What all targets share of one model.

    Attributes:
        name: The variant.
        quantized: The int8 graph, None for a float precision.
        precision: As asked for; the manifest's also tells how int8 ranges were found.
        weights: What the manifest says of the weights, and `quantization` of how they became integers.
        pictures: What each file is verified on.
        card: What each file says of itself.
        kind: What each file gives, and the names of its `outputs`.
        float_module: The float model, giving that.
        graph: What is lowered: pixels (batch, H, W, 3), float, 0 to 255, to (batch, classes).
        is_free_batch: Files leave open how many pictures they take; the graph then takes two or more.
        float_outputs, graph_outputs: What these two say to the pictures, output by output.
    """

    name: str
    float_model: FloatModel
    quantized: QuantizedModel | None
    precision: Precision
    weights: manifests.WeightsInfo
    quantization: dict[str, Any]
    pictures: Pictures
    card: ModelCard
    kind: OutputKind
    outputs: tuple[str, ...]
    float_module: nn.Module
    graph: nn.Module
    float_outputs: tuple[np.ndarray, ...]
    graph_outputs: tuple[np.ndarray, ...]
    batch: int = 1
    is_free_batch: bool = False
    processor: Processor = CPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """One file, verified if it runs here, in its staging folder, its manifest beside it; `others` were made from it."""

    path: Path
    manifest: Manifest
    sqnr_to_graph_db: float | None
    slow_path: tuple[str, ...]
    others: tuple[Path, ...] = ()


def quantize(
    float_model: FloatModel,
    calibration: Pictures | None,
    method: CalibrationMethod,
    say: Say,
    *,
    batch: int = 1,
    is_free_batch: bool = False,
    processor: Processor = CPU,
    keep_float: Collection[str] = (),
    is_wide: bool = False,
) -> QuantizedModel:
    """Make the int8 graph, with the ranges of a quantized checkpoint or of calibration pictures.

    Args:
        batch, is_free_batch, processor, keep_float, is_wide: As in `build_quantized`.

    Raises:
        ValueError: If there are neither.
    """
    if float_model.integers is not None:
        say(f"ranges: {float_model.weights}")
        if is_wide:
            say("weights are those trained for int8; with --calib DIR int16 starts from the float ones, closer to them")
    elif calibration is not None:
        say(f"calibrating on {calibration.description}")
    batches = None if calibration is None else pixel_batches(calibration.pixels, batch)
    return build_quantized(
        float_model,
        batches,
        method,
        batch,
        is_free_batch=is_free_batch,
        processor=processor,
        keep_float=keep_float,
        is_wide=is_wide,
    )


def make_lowerable(
    name: str,
    precision: Precision,
    source: WeightsSource,
    float_model: FloatModel,
    quantized: QuantizedModel | None,
    calibration: Pictures | None,
    pictures: Pictures,
    *,
    output: Output = "logits",
    batch: int = 1,
    is_free_batch: bool = False,
    processor: Processor = CPU,
) -> Lowerable:
    """Bring together what every target needs; `calibration` are the pictures that ranges were chosen from, if any."""
    module: nn.Module = float_model.module
    graph = float_graph(float_model, batch, is_free_batch) if quantized is None else quantized.graph
    if output == "probabilities":
        module, graph = ends_in_softmax(module), ends_in_softmax(graph)
    maps = tuple(f"stage_{i}" for i in range(len(float_model.features)))
    float_outputs = run_outputs(module, pictures.pixels)
    quantization: dict[str, Any] = {} if quantized is None else dict(quantized.summary)
    if calibration is not None:
        quantization["calibrated_on"] = calibration.description
        quantization["calibration_warnings"] = list(calibration_warnings(calibration))
    if source.form == "int8" and source.checkpoint is not None:
        quantization["sha256"] = source.checkpoint.sha256
    return Lowerable(
        name=name,
        float_model=float_model,
        quantized=quantized,
        precision=precision,
        weights=manifests.WeightsInfo(source=source.float_source.label, sha256=source.float_source.sha256),
        quantization=quantization,
        pictures=pictures,
        card=make_card(name, precision, source, () if maps else _labels(float_model)),
        kind="features" if maps else output,
        outputs=maps or (output,),
        float_module=module,
        graph=graph,
        float_outputs=float_outputs,
        graph_outputs=float_outputs if graph is module else run_outputs(graph, pictures.pixels, batch),
        batch=batch,
        is_free_batch=is_free_batch,
        processor=processor,
    )


def convert_one(
    model: Lowerable,
    target: str,
    backend: str,
    folder: Path,
    *,
    command: str = "",
    float_between: Literal["fp16", "fp32"] = "fp16",
    etrecord: Path | None = None,
    io: Io = "uint8",
    say: Say,
) -> Converted:
    """Lower to one target, write file and manifest into `folder`, run the file and compare it.

    Args:
        command: What the manifest says how to repeat this.
        float_between, etrecord, io: As in `Request`.

    Raises:
        ValueError: If an operator has no lowering.
        ImportError: If the target's package is missing; the message names the extra.
        RuntimeError: If the written file does not compute what it should.
    """
    spec = TARGETS[target, backend]
    say(f"lowering to {target}")
    infix = "_features" if model.kind == "features" else ""
    made_for = "" if model.processor is CPU or model.precision == "int16" else f"_{model.processor.name}"
    by = "" if backend == backends_of(target)[0] or not spec.runs_on else f"_{backend}"
    path = folder / f"{model.name}{infix}_{model.precision}{made_for}{by}{spec.suffix}"
    converter = importlib.import_module(spec.module)
    request = Request(
        precision=model.precision,
        card=model.card,
        outputs=model.outputs,
        facts=_facts(model.float_model.preprocess) | {"output_kind": model.kind, "precision": _precision(model)},
        float_between=float_between,
        etrecord=etrecord,
        is_free_batch=model.is_free_batch,
        has_floats=model.processor.has_floats,
        has_plain_constants=model.processor.has_plain_constants,
        io=io,
    )
    inputs = (torch.zeros(model.batch, *model.float_model.preprocess.size, 3),)
    graph, own = model.graph, model.float_model.own
    if target == "tflite" and model.quantized is not None and model.quantized.narrow is not None:
        graph = model.quantized.narrow  # widened in the file, because the lowering tool knows no int16
    try:
        result = converter.convert(graph, inputs, path, options=spec.options(request))
    except ValueError as e:
        if own is not None and (place := blamed(graph, str(e), file_of(own.source))):
            raise ValueError(f"{str(e).strip()}{place}") from e
        raise
    draft = _draft(model, result, backend, command)
    final: Manifest = replace(draft, verification_reason=f"not run: it is for {spec.runs_on}")
    to_graph = None
    if not spec.runs_on:
        manifests.save(draft, path)
        say(f"verifying on {model.pictures.description}")
        final, to_graph = _verified(model, draft, path)
    manifests.save(final, path)
    slow = tuple(f"{op.type} {op.name}: {op.reason}" for op in result.details.get("slow_path", ()))
    return Converted(path=path, manifest=final, sqnr_to_graph_db=to_graph, slow_path=slow)


def _verified(model: Lowerable, draft: Manifest, path: Path) -> tuple[Manifest, float]:
    """Run a file and compare every output; return its manifest, and the lowest ratio to its graph in dB."""
    pixels = model.pictures.pixels
    outputs = run_maps(path, pixels) if draft.features else (open_artefact(path).run(pixels),)
    check = check_probabilities if model.kind == "probabilities" else check_outputs
    checks = [
        check(*triple, model.pictures.description, model.precision)
        for triple in zip(outputs, model.graph_outputs, model.float_outputs, strict=True)
    ]
    verification = min((one for one, _ in checks), key=lambda one: one.sqnr_db)
    maps = [replace(m, sqnr_db=one.sqnr_db) for m, (one, _) in zip(draft.features, checks, strict=bool(draft.features))]
    final = replace(draft, verification=verification, verification_reason=None, features=tuple(maps))
    return final, min(to_graph for _, to_graph in checks)


def compile_for_npus(converted: Converted, chips: str, say: Say) -> Converted:
    """Compile a verified .tflite ahead of time for chips, and say so in its manifest.

    Raises:
        ImportError: If a vendor's compiler is missing.
        RuntimeError: If it fails.
    """
    say(f"compiling for {chips}")
    made, pack = compile_ahead(converted.path, find_chips(chips))
    manifest = replace(converted.manifest, npu_files=tuple(entry for _, entry in made))
    manifests.save(manifest, converted.path)
    others = (*(path for path, _ in made), *([] if pack is None else [pack]))
    return replace(converted, manifest=manifest, others=others)


def explain(model: Lowerable) -> tuple[tuple[str, float], ...]:
    """Return where the int8 graph loses signal, by layer in dB, the largest losses first; nothing for floats."""
    from edge_vit.quantization.sensitivity import layer_sqnr

    if model.quantized is None:
        return ()
    return tuple(layer_sqnr(model.float_model.module, model.quantized.graph, model.pictures.pixels[:16]))


def _labels(float_model: FloatModel) -> tuple[manifests.ClassLabel, ...]:
    return tuple(manifests.ClassLabel(id=c["id"], name=c["name"]) for c in float_model.classes)


def _facts(preprocess: Preprocess) -> dict[str, Any]:
    """Return how a picture becomes an input, in the manifest's words."""
    return {
        "input_layout": "NHWC",
        "color": "RGB",
        "resize": preprocess.resize,
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_pct,
        "normalization": "inside",
        "mean": preprocess.mean,
        "std": preprocess.std,
    }


def _precision(model: Lowerable) -> str:
    """Return the manifest's word for it, which tells how the ranges of an int8 model were found."""
    return model.precision if model.quantized is None else model.quantized.precision


def _draft(model: Lowerable, result: ConversionResult, backend: str, command: str) -> Manifest:
    """Describe a written file before it is verified."""
    is_backbone = model.kind == "features"
    classes = () if is_backbone else _labels(model.float_model)
    shape = (result.input_shape[0], *model.float_outputs[-1].shape[1:])
    own = model.float_model.own
    return Manifest(
        model=model.name,
        precision=_precision(model),  # type: ignore[arg-type]
        target=result.target,  # type: ignore[arg-type]
        backend=backend,
        weights=model.weights,
        classes=classes,
        input=_input_info(model, result),
        output=manifests.OutputInfo(
            name=model.outputs[-1], shape=shape, dtype=result.details.get("output_dtype", "float32"), kind=model.kind
        ),
        file=manifests.describe_file(result.path),
        operators=result.details["operators"],
        delegated_nodes=result.delegated_nodes,
        total_nodes=result.total_nodes,
        verification=None,
        verification_reason="being verified",
        quantization=model.quantization,
        tool_versions=result.tool_versions,
        command=command,
        processor=model.processor.name,  # type: ignore[arg-type]
        features=_maps(model, result.input_shape[0]),
        network=None if own is None else manifests.NetworkInfo(source=own.source, sha256=own.sha256),
    )


def _maps(model: Lowerable, batch: int) -> tuple[manifests.FeatureMap, ...]:
    if model.kind != "features":
        return ()
    entries = zip(model.outputs, model.float_outputs, model.float_model.features, strict=True)
    return tuple(
        manifests.FeatureMap(
            name=name, shape=(batch, *values.shape[1:]), layout="NCHW", dtype="float32",
            channels=info.channels, stride=info.stride, sqnr_db=None,
        )
        for name, values, info in entries
    )  # fmt: skip


def _input_info(model: Lowerable, result: ConversionResult) -> manifests.InputInfo:
    preprocess, shape = model.float_model.preprocess, list[int | str](result.input_shape)
    if model.is_free_batch:
        shape[0] = "any"
    dtype = result.details.get("input_dtype", "uint8")
    tensor = f"a tensor of RGB pixels, {dtype} NHWC [{', '.join(map(str, shape))}]"
    return manifests.InputInfo(
        name=result.details.get("input_name", "pixels"), layout="NHWC", shape=result.input_shape,
        dtype=dtype, value_range=result.details.get("input_range", (0.0, 255.0)),
        color="RGB", resize=preprocess.resize, interpolation=preprocess.interpolation, crop_pct=preprocess.crop_pct,
        mean=preprocess.mean, std=preprocess.std, normalization="inside",
        free_batch=model.is_free_batch,
        takes=f"{_count(shape[0])} at a time: {result.details.get('takes', tensor)}",
    )  # fmt: skip


def _count(pictures: int | str) -> str:
    if pictures == "any":
        return "any number of pictures"
    return "one picture" if pictures == 1 else f"{pictures} pictures"
