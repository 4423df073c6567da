"""The steps of `edge_vit.convert`: prepare a model once, then lower, describe and verify it for each target."""

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from calibration.dataset import skipped_lines
from converters import manifest as manifests
from converters.artefact import open_artefact
from converters.manifest import Manifest
from converters.result import ConversionResult
from edge_vit.deployment.targets import TARGETS, Request
from edge_vit.deployment.verify import NUM_PICTURES, Pictures, check_logits, drawn_pictures, load_pictures
from edge_vit.models import get_spec
from edge_vit.models.sources import WeightsSource, find_weights, resolve_label
from edge_vit.quantization.pipeline import (
    FloatModel,
    QuantizedModel,
    build_float,
    build_quantized,
    pixel_batches,
    run_pixels,
)

if TYPE_CHECKING:
    from edge_vit.convert import ConvertConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What all targets share.

    Attributes:
        quantized: The int8 graph, None for a float precision.
        calibrated_on: Which pictures chose the ranges, "" where the checkpoint carries them.
        pictures: What each file is verified on.
        float_logits, graph_logits: What the float model and the graph that is lowered say to them.
    """

    source: WeightsSource
    float_model: FloatModel
    quantized: QuantizedModel | None
    calibrated_on: str
    pictures: Pictures
    float_logits: np.ndarray
    graph_logits: np.ndarray

    @property
    def graph(self) -> torch.nn.Module:
        return self.float_model.module if self.quantized is None else self.quantized.graph


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """One verified file, still in its staging folder, its manifest beside it."""

    path: Path
    manifest: Manifest
    sqnr_to_graph_db: float
    slow_path: tuple[str, ...]


def prepare(config: "ConvertConfig") -> Prepared:
    """Load and fuse the model, quantize it if asked, and choose the pictures to verify on.

    Raises:
        ValueError: If model, weights or data do not fit.
    """
    get_spec(config.model)
    is_int8 = config.precision == "int8"
    source = find_weights(config.model, config.weights, prefer_quantized=is_int8 and config.calib is None)
    if source.form == "int8" and not is_int8:
        raise ValueError(f"{source.label} is quantized; add --int8, or give float weights")
    if source.form == "int8" and config.calib is not None:
        raise ValueError(f"{source.label} carries its ranges; leave --calib out, or give float weights")
    say(f"{config.model}: {source.label}")
    float_model = build_float(config.model, source, config.resolution)
    for note in float_model.notes:
        say(note)
    calibration, pictures = _pictures(config, float_model)
    quantized = _quantize(config, source, float_model, calibration) if is_int8 else None
    graph = float_model.module if quantized is None else quantized.graph
    float_logits = run_pixels(float_model.module, pictures.pixels)
    return Prepared(
        source=source,
        float_model=float_model,
        quantized=quantized,
        calibrated_on="" if calibration is None else calibration.description,
        pictures=pictures,
        float_logits=float_logits,
        graph_logits=float_logits if quantized is None else run_pixels(graph, pictures.pixels),
    )


def convert_one(config: "ConvertConfig", prepared: Prepared, road: tuple[str, str], folder: Path) -> Converted:
    """Lower to one target, write file and manifest into `folder`, run the file and compare it.

    Raises:
        ValueError: If an operator has no lowering.
        ImportError: If the target's package is missing; the message names the extra.
        RuntimeError: If the written file does not compute what it should.
    """
    target, backend = road
    spec = TARGETS[road]
    say(f"lowering to {target}")
    path = folder / f"{config.model}_{config.precision}{spec.suffix}"
    converter = importlib.import_module(spec.module)
    side = prepared.float_model.preprocess.resolution
    request = Request(
        precision=config.precision,
        classes=_labels(prepared.float_model),
        description=f"{config.model}, {config.precision}, weights: {prepared.source.label}",
        float_between=config.float_between,
        etrecord=config.etrecord,
    )
    inputs = (torch.zeros(1, side, side, 3),)
    result = converter.convert(prepared.graph, inputs, path, options=spec.options(request))
    draft = _draft(config, prepared, result, backend)
    manifests.save(draft, path)
    say(f"verifying on {prepared.pictures.description}")
    verification, to_graph = check_logits(
        open_artefact(path).run(prepared.pictures.pixels),
        prepared.graph_logits,
        prepared.float_logits,
        prepared.pictures.description,
        config.precision,
    )
    final = replace(draft, verification=verification, verification_reason=None)
    manifests.save(final, path)
    slow = tuple(f"{op.type} {op.name}: {op.reason}" for op in result.details.get("slow_path", ()))
    return Converted(path=path, manifest=final, sqnr_to_graph_db=to_graph, slow_path=slow)


def explain(prepared: Prepared) -> tuple[tuple[str, float], ...]:
    """Return where the int8 graph loses signal, by layer, the largest losses first."""
    from edge_vit.quantization.sensitivity import layer_sqnr

    if prepared.quantized is None:
        return ()
    return tuple(layer_sqnr(prepared.float_model.module, prepared.quantized.graph, prepared.pictures.pixels[:16]))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _pictures(config: "ConvertConfig", float_model: FloatModel) -> tuple[Pictures | None, Pictures]:
    """Return the pictures to calibrate on, None without --calib, and those to verify on, read once.

    A folder's verification pictures are others than those that the ranges are chosen from, as far as it goes.
    """
    preprocess = float_model.preprocess
    calibration = None
    if config.calib is not None:
        both = load_pictures(config.calib, preprocess, config.calib_images + NUM_PICTURES)
        for line in skipped_lines(both.skipped):
            say(line)
        calibration, rest = both.split(config.calib_images)
        others = rest if len(rest.pixels) >= NUM_PICTURES else both.split(-NUM_PICTURES)[1]
    if config.data is not None:
        return calibration, load_pictures(config.data, preprocess, NUM_PICTURES)
    return calibration, drawn_pictures(preprocess) if calibration is None else others


def _quantize(
    config: "ConvertConfig", source: WeightsSource, float_model: FloatModel, calibration: Pictures | None
) -> QuantizedModel:
    if source.form == "int8":
        say(f"ranges: {source.label}")
    elif calibration is not None:
        say(f"calibrating on {calibration.description}")
    batches = None if calibration is None else pixel_batches(calibration.pixels)
    return build_quantized(float_model, source, batches, config.calib_method)


def _labels(float_model: FloatModel) -> tuple[manifests.ClassLabel, ...]:
    return tuple(manifests.ClassLabel(id=c["id"], name=c["name"]) for c in float_model.classes)


def _draft(config: "ConvertConfig", prepared: Prepared, result: ConversionResult, backend: str) -> Manifest:
    """Describe a written file before it is verified."""
    source, quantized = prepared.source, prepared.quantized
    label = (source.float_label or source.label) if source.form == "int8" else source.label
    digest = None if source.path is None else manifests.sha256_file(resolve_label(label))
    summary: dict[str, Any] = {} if quantized is None else dict(quantized.summary)
    if prepared.calibrated_on:
        summary["calibrated_on"] = prepared.calibrated_on
    if source.form == "int8":
        assert source.path is not None
        summary["sha256"] = manifests.sha256_file(source.path)
    classes = _labels(prepared.float_model)
    return Manifest(
        model=config.model,
        precision=config.precision if quantized is None else quantized.precision,  # type: ignore[arg-type]
        target=result.target,  # type: ignore[arg-type]
        backend=backend,
        weights=manifests.WeightsInfo(source=label, sha256=digest),
        classes=classes,
        input=_input_info(prepared.float_model, result),
        output=manifests.OutputInfo(name="logits", shape=(1, len(classes)), dtype="float32", kind="logits"),
        file=manifests.describe_file(result.path),
        operators=result.details["operators"],
        delegated_nodes=result.delegated_nodes,
        total_nodes=result.total_nodes,
        verification=None,
        verification_reason="being verified",
        quantization=summary,
        tool_versions=result.tool_versions,
        command=config.command,
    )


def _input_info(float_model: FloatModel, result: ConversionResult) -> manifests.InputInfo:
    preprocess = float_model.preprocess
    return manifests.InputInfo(
        name=result.details.get("input_name", "pixels"), layout="NHWC", shape=result.input_shape,
        dtype=result.details.get("input_dtype", "uint8"), value_range=result.details.get("input_range", (0.0, 255.0)),
        color="RGB", resize=preprocess.resize, interpolation=preprocess.interpolation, crop_pct=preprocess.crop_pct,
        mean=preprocess.mean, std=preprocess.std, normalization="inside",
    )  # fmt: skip
