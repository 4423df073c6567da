"""Make what a conversion asks for: prepare a model once, lower it to every target, publish the verified files."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.tflite.ahead import check_compiler
from converters.tflite.chips import find_chips
from edge_vit.deployment.checks import choose_labels, choose_weights, list_pictures
from edge_vit.deployment.labels import check_count, name_classes
from edge_vit.deployment.request import BUDGET, ConvertConfig, ConvertedSet, ConvertResult
from edge_vit.deployment.sizes import check_size
from edge_vit.deployment.targets import ALL, check_installed
from edge_vit.models.own import OwnNetwork, find_own_weights
from edge_vit.models.user_code import file_of
from edge_vit.quantization.packages import check_torchao
from edge_vit.quantization.processors import CPU

if TYPE_CHECKING:
    from calibration.dataset import ImageSet
    from converters.manifest import ClassLabel
    from edge_vit.deployment.agreement import Agreement
    from edge_vit.deployment.publishing import Places
    from edge_vit.deployment.steps import Converted, Lowerable
    from edge_vit.models.sources import WeightsSource

Say = Callable[[str], None]


def run(config: ConvertConfig, say: Say = lambda line: None) -> ConvertedSet:
    """Convert one graph to every target that is asked for, verify and describe; all files appear together or none.

    Args:
        say: Called with progress, line by line.

    Raises:
        ValueError: If model, weights, data or folder do not fit; the message says what to do.
        ImportError: If a target's package is missing; the message names the extra.
        RuntimeError: If a written file does not compute what it should.
    """
    from edge_vit.deployment.publishing import Places, staged

    started = time.perf_counter()
    check_packages(config)
    own = config.own_network()
    asked: dict[str, Any] = {
        "is_int8": config.is_quantized, "has_calibration": config.calib is not None,
        "takes_raw": config.raw_weights, "may_lack_ranges": config.made_for.name != CPU.name,
    }  # fmt: skip
    if own is not None:
        source = find_own_weights(own, config.weights, **asked)
    else:
        source = choose_weights(config.model, config.weights, resolution=config.resolution, **asked)
    labels = choose_labels(config.labels, source)
    calib, data = list_pictures(config.calib, "train"), list_pictures(config.data, "val")
    if config.max_drop is not None and data is not None and not data.folders:
        raise ValueError(f"{config.data}: pictures without classes; --max-drop needs one sub-folder a class, or a list")
    places = Places(folder=config.output_dir, etrecord=config.etrecord, app=config.android)
    with staged(places) as files:
        # From here on torch is loaded: what is wrong with a request has been said.
        from edge_vit.deployment.steps import compile_for_npus, convert_one, explain

        model = _prepare(config, source, calib, data, say, labels, own)
        made: list[tuple[Converted, float]] = []
        for target, backend in config.backends():
            converted = convert_one(
                model, target, backend, files.folder,
                command=config.command, float_between=config.float_between, etrecord=files.etrecord, io=config.io,
                say=say,
            )  # fmt: skip
            if config.npu:
                converted = compile_for_npus(converted, config.npu, say)
            made.append((converted, time.perf_counter() - started))
            started = time.perf_counter()
        paths = [converted.path for converted, _ in made]
        is_compared = config.target == ALL and not config.features
        agreement = _compare(model, paths, data, config.data_images, say) if is_compared else None
        layers = explain(model) if config.explain else ()
        files.publish(paths, [other for converted, _ in made for other in converted.others])
    notes = model.float_model.notes
    results = tuple(_result(converted, places, notes, layers, seconds) for converted, seconds in made)
    return ConvertedSet(results=results, agreement=agreement)


def check_packages(config: ConvertConfig) -> None:
    """Raise ImportError, naming the extra, where what the conversion needs is not installed; nothing is imported."""
    for target, backend in config.backends():
        check_installed(target, backend)
    if config.is_quantized:
        check_torchao()
    for vendor, _ in find_chips(config.npu) if config.npu else ():
        check_compiler(vendor)


def _prepare(
    config: ConvertConfig,
    source: "WeightsSource",
    calib: "ImageSet | None",
    data: "ImageSet | None",
    say: Say,
    labels: "Sequence[ClassLabel]" = (),
    own: OwnNetwork | None = None,
) -> "Lowerable":
    """Load and fuse the model, quantize it if asked, and choose the pictures to verify on."""
    from edge_vit.deployment.budget import meet_budget
    from edge_vit.deployment.pictures import choose_pictures
    from edge_vit.deployment.steps import make_lowerable, quantize
    from edge_vit.quantization.own_float import build_own
    from edge_vit.quantization.pipeline import build_float, num_constants
    from edge_vit.quantization.user_lines import float_lines

    name = config.model if own is None else own.name
    say(f"{name}: {source.label}")
    batch = 1 if config.is_free_batch else config.pictures_at_once
    if own is None:
        float_model = build_float(config.model, source, config.resolution, features_only=config.features, batch=batch)
    else:
        float_model, source = build_own(own, source, batch)
    if config.labels is not None:
        check_count(labels, len(float_model.classes), config.labels)
        float_model = replace(float_model, classes=name_classes(float_model.classes, labels))
    for note in float_model.notes:
        say(note)
    if not config.is_quantized:
        for target, _ in config.backends():
            check_size(target, name, num_constants(float_model.module))
    calibration, pictures = choose_pictures(float_model.preprocess, calib, config.calib_images, data, say)
    quantized, budget, processor = None, None, config.made_for
    if config.is_quantized:
        if config.max_drop is not None and config.data is not None and data is not None:
            budget = meet_budget(
                float_model, calibration, config.ranges_by, data, config.data,
                most=config.data_images, max_drop=config.max_drop, say=say,
            )  # fmt: skip
        quantized = quantize(
            float_model, calibration, config.ranges_by, say,
            batch=config.pictures_at_once, is_free_batch=config.is_free_batch, processor=processor,
            keep_float=() if budget is None else budget.operators, is_wide=config.precision == "int16",
        )  # fmt: skip
        if own is not None:
            for line in float_lines(quantized.plan.float_nodes, file_of(own.source)):
                say(line)
        if budget is not None:
            quantized.summary[BUDGET] = budget.record
    return make_lowerable(
        name, config.precision, source, float_model, quantized, calibration, pictures,
        output=config.output, batch=config.pictures_at_once, is_free_batch=config.is_free_batch, processor=processor,
    )  # fmt: skip


def _compare(model: "Lowerable", paths: Sequence[Path], data: "ImageSet | None", most: int, say: Say) -> "Agreement":
    """Compare the files on at most `most` pictures of `data`, or on those that they were verified on."""
    from edge_vit.deployment.agreement import compare
    from edge_vit.deployment.pictures import batches_of, pictures_of
    from edge_vit.quantization.pipeline import run_pixels

    run_float = functools.partial(run_pixels, model.float_module)
    graph = None if model.quantized is None else model.quantized.graph
    if data is None:
        return compare(paths, graph, run_float, [model.pictures.pixels], model.pictures.kind)
    return compare(
        paths, graph, run_float, batches_of(data, model.float_model.preprocess, most, say), pictures_of(data)
    )


def _result(
    converted: "Converted",
    places: "Places",
    notes: tuple[str, ...],
    layers: tuple[tuple[str, float], ...],
    seconds: float,
) -> ConvertResult:
    from converters.manifest import manifest_path

    final = places.folder / converted.path.name
    return ConvertResult(
        artefact=final,
        manifest_path=manifest_path(final),
        manifest=converted.manifest,
        notes=notes,
        sqnr_to_graph_db=converted.sqnr_to_graph_db,
        slow_path=converted.slow_path,
        seconds=seconds,
        layers=layers,
        ai_pack=next((str(places.folder / one.name) for one in converted.others if not one.suffix), ""),
        android=str(places.asset(final.name, converted.manifest.target) or ""),
    )
