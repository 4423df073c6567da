"""Make what a conversion asks for: prepare a model once, lower it to every target, publish the verified files."""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vit.deployment.request import ConvertConfig, ConvertedSet, ConvertResult
from edge_vit.deployment.targets import ALL, check_installed
from edge_vit.quantization.packages import check_torchao

if TYPE_CHECKING:
    from edge_vit.deployment.agreement import Agreement
    from edge_vit.deployment.steps import Converted, Lowerable

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
    from converters.result import staging

    started = time.perf_counter()
    check_packages(config)
    if config.android is not None:
        from edge_vit.deployment.android import check_project

        check_project(config.android)
    with staging(config.output_dir, ".converting-") as folder:
        model = _prepare(config, say)
        from edge_vit.deployment.steps import convert_one, explain

        made: list[tuple[Converted, float]] = []
        for target, backend in config.backends():
            converted = convert_one(
                model, target, backend, folder,
                command=config.command, float_between=config.float_between, etrecord=config.etrecord, say=say,
            )  # fmt: skip
            made.append((converted, time.perf_counter() - started))
            started = time.perf_counter()
        agreement = None
        if config.target == ALL:
            paths = [converted.path for converted, _ in made]
            agreement = _compare(model, paths, config.data, config.data_images, say)
        layers = explain(model) if config.explain else ()
        notes = model.float_model.notes
        results = [_publish(one, config.output_dir, config.android, notes, layers, seconds) for one, seconds in made]
    return ConvertedSet(results=tuple(results), agreement=agreement)


def check_packages(config: ConvertConfig) -> None:
    """Raise ImportError, naming the extra, where what the conversion needs is not installed; nothing is imported."""
    for target, backend in config.backends():
        check_installed(target, backend)
    if config.precision == "int8":
        check_torchao()


def _prepare(config: ConvertConfig, say: Say) -> "Lowerable":
    """Load and fuse the model, quantize it if asked, and choose the pictures to verify on."""
    from edge_vit.deployment.pictures import choose_pictures
    from edge_vit.deployment.steps import choose_weights, make_lowerable, quantize
    from edge_vit.models import get_spec
    from edge_vit.quantization.pipeline import build_float

    get_spec(config.model)
    is_int8 = config.precision == "int8"
    source = choose_weights(config.model, config.weights, is_int8=is_int8, has_calibration=config.calib is not None)
    say(f"{config.model}: {source.label}")
    float_model = build_float(config.model, source, config.resolution)
    for note in float_model.notes:
        say(note)
    calibration, pictures = choose_pictures(float_model.preprocess, config.calib, config.calib_images, config.data, say)
    quantized = quantize(float_model, source, calibration, config.calib_method, say) if is_int8 else None
    return make_lowerable(config.model, config.precision, source, float_model, quantized, calibration, pictures)


def _compare(model: "Lowerable", paths: Sequence[Path], data: Path | None, most: int, say: Say) -> "Agreement":
    """Compare the files on at most `most` pictures of `data`, or on those that they were verified on."""
    from edge_vit.deployment.agreement import compare
    from edge_vit.deployment.pictures import batches_of, pictures_of
    from edge_vit.quantization.pipeline import run_pixels

    run_float = functools.partial(run_pixels, model.float_model.module)
    graph = None if model.quantized is None else model.quantized.graph
    if data is None:
        return compare(paths, graph, run_float, [model.pictures.pixels], model.pictures.kind)
    return compare(
        paths, graph, run_float, batches_of(data, model.float_model.preprocess, most, say), pictures_of(data)
    )


def _publish(
    converted: "Converted",
    folder: Path,
    app: Path | None,
    notes: tuple[str, ...],
    layers: tuple[tuple[str, float], ...],
    seconds: float,
) -> ConvertResult:
    from converters.manifest import manifest_path
    from converters.result import publish

    final = folder / converted.path.name
    publish(converted.path, final)
    publish(manifest_path(converted.path), manifest_path(final))
    return ConvertResult(
        artefact=final,
        manifest_path=manifest_path(final),
        manifest=converted.manifest,
        notes=notes,
        sqnr_to_graph_db=converted.sqnr_to_graph_db,
        slow_path=converted.slow_path,
        seconds=seconds,
        layers=layers,
        android=_put_into_app(app, final, converted.manifest.target),
    )


def _put_into_app(app: Path | None, artefact: Path, target: str) -> str:
    if app is None or target == "coreml":
        return ""
    from edge_vit.deployment import android

    (put,) = android.run(android.AndroidConfig(artefacts=(artefact,), into=app)).put
    return str(app / android.ASSETS.parent / put.asset)
