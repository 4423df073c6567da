"""Convert a variant to a file that a phone runs, verify it, and describe it in a manifest.

    python -m edge_vit.convert levit_128s --target tflite --int8

writes artifacts/levit_128s_int8.tflite and artifacts/levit_128s_int8.tflite.json.
"""

import argparse
import contextlib
import difflib
import importlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from converters.manifest import Manifest
    from converters.result import ConversionResult
    from edge_vit.models.sources import WeightsSource
    from edge_vit.quant.pipeline import FloatModel, QuantizedModel
    from edge_vit.verify import Pictures

Precision = Literal["fp32", "fp16", "int8"]
NUM_CALIBRATION_PICTURES = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSpec:
    """A target: its converter ("module", imported when chosen), file suffix, back end and precisions."""

    module: str
    suffix: str
    backend: str
    precisions: tuple[Precision, ...]


TARGETS: dict[str, TargetSpec] = {
    "tflite": TargetSpec(
        module="converters.to_tflite", suffix=".tflite", backend="litert-torch", precisions=("fp32", "fp16", "int8")
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertConfig:
    """One conversion; see `--help` for each field."""

    model: str
    target: str
    precision: Precision = "fp32"
    weights: str = "auto"
    calib: Path | None = None
    calib_images: int = NUM_CALIBRATION_PICTURES
    calib_method: Literal["mse", "percentile", "min_max"] = "mse"
    resolution: int | None = None
    output_dir: Path = Path("artifacts")
    explain: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            near = difflib.get_close_matches(self.target, TARGETS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown target {self.target!r}; choose from {', '.join(TARGETS)}{hint}")
        if self.precision not in TARGETS[self.target].precisions:
            allowed = ", ".join(TARGETS[self.target].precisions)
            raise ValueError(f"{self.target} has no {self.precision}; it has {allowed}")
        if self.calib_images < 1:
            raise ValueError(f"calib_images {self.calib_images} is not allowed; use 1 or more")
        if self.explain and self.precision != "int8":
            raise ValueError("--explain shows where int8 loses accuracy; add --int8")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertResult:
    """What was written.

    Attributes:
        sqnr_to_graph_db: The file against the torch graph it was lowered from.
        slow_path: Operators that the runtime's fast kernels do not take, with the reason.
        layers: Where signal is lost, with --explain.
    """

    artefact: Path
    manifest_path: Path
    manifest: "Manifest"
    notes: tuple[str, ...]
    sqnr_to_graph_db: float
    slow_path: tuple[str, ...]
    seconds: float
    layers: tuple[tuple[str, float], ...] = ()


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="variant; `python -m edge_vit.models` lists all")
    parser.add_argument("--target", required=True, metavar="TARGET", help=f"one of: {', '.join(TARGETS)}")
    precision = parser.add_mutually_exclusive_group()
    for name, what in (("int8", "weights and activations"), ("fp16", "weights in half precision")):
        precision.add_argument(f"--{name}", dest="precision", action="store_const", const=name, help=what)
    parser.set_defaults(precision="fp32")
    parser.add_argument(
        "--weights", default="auto", metavar="SOURCE",
        help="auto (embedded, else published), imagenet (published), random, or a checkpoint's path",
    )  # fmt: skip
    parser.add_argument("--calib", type=Path, metavar="DIR", help="pictures to choose int8 ranges from")
    parser.add_argument(
        "--calib-images", type=int, default=NUM_CALIBRATION_PICTURES, metavar="N", help="how many of them (128)"
    )
    parser.add_argument(
        "--calib-method", choices=("mse", "percentile", "min_max"), default="mse", help="how a range is chosen (mse)"
    )
    parser.add_argument("--resolution", type=int, metavar="R", help="input side in pixels; default: as trained")
    parser.add_argument("--output-dir", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    parser.add_argument("--explain", action="store_true", help="show in which layers int8 loses accuracy")
    parser.add_argument("--json", action="store_true", help="print the manifest")
    return parser


def run(config: ConvertConfig) -> ConvertResult:
    """Convert, verify and describe; artefact and manifest appear together or not at all.

    Raises:
        ValueError: If model, weights, data or folder do not fit; the message says what to do.
        ImportError: If the target's package is missing; the message names the extra.
        RuntimeError: If the written file does not compute what it should.
    """
    from edge_vit.models import get_spec
    from edge_vit.models.sources import find_weights
    from edge_vit.quant.pipeline import build_float

    started = time.perf_counter()
    get_spec(config.model)
    is_int8 = config.precision == "int8"
    with _staging(config.output_dir) as staging:
        source = find_weights(config.model, config.weights, prefer_quantized=is_int8 and config.calib is None)
        if source.form == "int8" and not is_int8:
            raise ValueError(f"{source.label} is quantized; add --int8, or give float weights")
        _say(f"{config.model}: {source.label}")
        float_model = build_float(config.model, source, config.resolution)
        for note in float_model.notes:
            _say(note)
        quantized, calibrated_on = _quantize(config, source, float_model) if is_int8 else (None, "")
        path = staging / f"{config.model}_{config.precision}{TARGETS[config.target].suffix}"
        result = _lower(config, float_model, quantized, path)
        manifest, to_graph = _describe(config, source, float_model, quantized, result, calibrated_on)
        layers = _explain(config, float_model, quantized)
        return _publish(config, staging, path, manifest, float_model, to_graph, result, layers, started)


def _quantize(
    config: ConvertConfig, source: "WeightsSource", float_model: "FloatModel"
) -> "tuple[QuantizedModel, str]":
    from edge_vit.quant.pipeline import build_quantized, pixel_batches
    from edge_vit.verify import load_pictures

    if source.form == "int8":
        if config.calib is not None:
            raise ValueError(f"{source.label} carries its ranges; leave --calib out, or give float weights")
        _say(f"ranges: {source.label}")
        return build_quantized(float_model, source, None), ""
    pictures = None
    if config.calib is not None:
        pictures = load_pictures(config.calib, float_model.preprocess, config.calib_images)
        _say_skipped(pictures)
        _say(f"calibrating on {pictures.description}")
    batches = None if pictures is None else pixel_batches(pictures.pixels)
    quantized = build_quantized(float_model, source, batches, config.calib_method)
    return quantized, "" if pictures is None else pictures.description


def _lower(
    config: ConvertConfig, float_model: "FloatModel", quantized: "QuantizedModel | None", path: Path
) -> "ConversionResult":
    import torch

    _say(f"lowering to {config.target}")
    converter = importlib.import_module(TARGETS[config.target].module)
    side = float_model.preprocess.resolution
    module: Any = float_model.module if quantized is None else quantized.graph
    options = converter.make_options(half_precision=config.precision == "fp16")
    result = converter.convert(module, (torch.zeros(1, side, side, 3),), path, options=options)
    return replace(result, precision=config.precision)


def _describe(
    config: ConvertConfig,
    source: "WeightsSource",
    float_model: "FloatModel",
    quantized: "QuantizedModel | None",
    result: "ConversionResult",
    calibrated_on: str,
) -> "tuple[Manifest, float]":
    """Verify the file and write its manifest beside it."""
    from converters import manifest as manifests
    from converters.run import open_artefact
    from edge_vit.models.sources import resolve_label
    from edge_vit.quant.pipeline import run_pixels
    from edge_vit.verify import check_artefact, drawn_pictures, load_pictures

    label = (source.float_label or source.label) if source.form == "int8" else source.label
    digest = None if source.path is None else manifests.sha256_file(resolve_label(label))
    summary: dict[str, Any] = {} if quantized is None else dict(quantized.summary)
    if calibrated_on:
        summary["calibrated_on"] = calibrated_on
    if source.form == "int8":
        assert source.path is not None
        summary["sha256"] = manifests.sha256_file(source.path)
    draft = manifests.Manifest(
        model=config.model,
        precision=config.precision if quantized is None else quantized.precision,  # type: ignore[arg-type]
        target=config.target,  # type: ignore[arg-type]
        backend=TARGETS[config.target].backend,
        weights=manifests.WeightsInfo(source=label, sha256=digest),
        classes=tuple(manifests.ClassLabel(id=c["id"], name=c["name"]) for c in float_model.classes),
        input=_input_info(float_model, result),
        output=manifests.OutputInfo(
            name="logits", shape=(1, len(float_model.classes)), dtype="float32", kind="logits"
        ),
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
    manifests.save(draft, result.path)
    if config.calib is not None:
        # Other pictures than the ranges were chosen from, as far as the folder goes.
        pictures = load_pictures(config.calib, float_model.preprocess, 32, seed=1)
    else:
        pictures = drawn_pictures(float_model.preprocess)
    _say(f"verifying on {pictures.description}")
    graph = float_model.module if quantized is None else quantized.graph
    verification, to_graph = check_artefact(
        open_artefact(result.path).run,
        lambda pixels: run_pixels(graph, pixels),
        lambda pixels: run_pixels(float_model.module, pixels),
        pictures,
        config.precision,
    )
    final = replace(draft, verification=verification, verification_reason=None)
    manifests.save(final, result.path)
    return final, to_graph


def _input_info(float_model: "FloatModel", result: "ConversionResult") -> Any:
    from converters.manifest import InputInfo

    preprocess = float_model.preprocess
    return InputInfo(
        name="pixels", layout="NHWC", shape=result.input_shape, dtype="uint8", value_range=(0.0, 255.0), color="RGB",
        resize=preprocess.resize, interpolation=preprocess.interpolation, crop_pct=preprocess.crop_pct,
        mean=preprocess.mean, std=preprocess.std, normalization="inside",
    )  # fmt: skip


def _explain(
    config: ConvertConfig, float_model: "FloatModel", quantized: "QuantizedModel | None"
) -> tuple[tuple[str, float], ...]:
    if not config.explain or quantized is None:
        return ()
    from edge_vit.quant.sensitivity import layer_sqnr
    from edge_vit.verify import drawn_pictures, load_pictures

    pictures = (
        drawn_pictures(float_model.preprocess, 8)
        if config.calib is None
        else load_pictures(config.calib, float_model.preprocess, 16, seed=1)
    )
    return tuple(layer_sqnr(float_model.module, quantized.graph, pictures.pixels))


def _publish(
    config: ConvertConfig,
    staging: Path,
    path: Path,
    manifest: "Manifest",
    float_model: "FloatModel",
    to_graph: float,
    result: "ConversionResult",
    layers: tuple[tuple[str, float], ...],
    started: float,
) -> ConvertResult:
    from converters.manifest import manifest_path

    final = config.output_dir / path.name
    for source, target in ((path, final), (manifest_path(path), manifest_path(final))):
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(source, target)
    slow = tuple(f"{op.type} {op.name}: {op.reason}" for op in result.details.get("slow_path", ()))
    return ConvertResult(
        artefact=final,
        manifest_path=manifest_path(final),
        manifest=manifest,
        notes=float_model.notes,
        sqnr_to_graph_db=to_graph,
        slow_path=slow,
        seconds=time.perf_counter() - started,
        layers=layers,
    )


@contextlib.contextmanager
def _staging(output_dir: Path) -> Iterator[Path]:
    """Give a folder inside `output_dir` that is gone afterwards, whatever happens."""
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=output_dir, prefix=".converting-"))
    except OSError as e:
        raise ValueError(f"cannot write to {output_dir}: {e.strerror}; choose another --output-dir") from e
    try:
        yield staging
    except OSError as e:
        raise RuntimeError(f"{e.strerror or e}: {e.filename or output_dir}; nothing was kept") from e
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_skipped(pictures: "Pictures") -> None:
    from calibration.dataset import skipped_lines

    for line in skipped_lines(pictures.skipped):
        _say(line)


def report(result: ConvertResult) -> list[str]:
    """Return the printed summary, line by line."""
    manifest, operators = result.manifest, result.manifest.operators
    by_precision: dict[str, int] = {}
    for counts in operators.counts.values():
        for precision, count in counts.items():
            by_precision[precision] = by_precision.get(precision, 0) + count
    most_first = sorted(by_precision.items(), key=lambda entry: -entry[1])
    counted = ", ".join(f"{count} {precision}" for precision, count in most_first)
    verification = manifest.verification
    assert verification is not None
    lines = [
        f"{result.artefact}  {manifest.file.num_bytes / 1e6:.2f} MB, {manifest.precision}, in {result.seconds:.0f} s",
        f"  weights        {manifest.weights.source}",
        f"  input          {manifest.input.dtype} {manifest.input.layout} {list(manifest.input.shape)}, RGB pixels",
        f"  operators      {counted}; {operators.quantize} QUANTIZE, {operators.dequantize} DEQUANTIZE",
        f"  float islands  {len(operators.float_islands)}" + _some(operators.float_islands),
        f"  slow path      {len(result.slow_path)}" + _some(result.slow_path),
        f"  verified       {verification.sqnr_db:.1f} dB and {100 * verification.top1_agreement:.1f}% same top-1 "
        f"against float, {result.sqnr_to_graph_db:.1f} dB against its own graph, on {verification.data}",
        f"  manifest       {result.manifest_path}",
    ]
    if result.layers:
        lines.append("  signal to quantization noise by layer, in dB; the largest losses first:")
        lines += [f"    {loss:6.1f}  {name}" for name, loss in result.layers[:10]]
    return lines


def _some(names: tuple[str, ...], most: int = 3) -> str:
    if not names:
        return ""
    return ": " + ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def main(argv: list[str] | None = None) -> int:
    arguments = vars(build_parser().parse_args(argv))
    as_json = arguments.pop("json")
    words = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "-m", "edge_vit.convert", *words])
    try:
        result = run(ConvertConfig(**arguments, command=command))
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except RuntimeError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    print(result.manifest.to_json() if as_json else "\n".join(report(result)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
