"""Convert a variant to a file that a phone runs, verify it, and describe it in a manifest.

    python -m edge_vit.convert levit_128s --target tflite --int8

writes artifacts/levit_128s_int8.tflite and artifacts/levit_128s_int8.tflite.json. --target all writes a file for every
target from the same graph and compares them.
"""

import argparse
import json
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_vit.deployment.targets import ALL, Precision, backends_of, find_roads, target_names

if TYPE_CHECKING:
    from converters.manifest import Manifest
    from edge_vit.deployment.agreement import Agreement
    from edge_vit.deployment.steps import Converted, Prepared

NUM_CALIBRATION_PICTURES = 128
NUM_COMPARED_PICTURES = 2000
NOTHING_WRITTEN = "interrupted; nothing was written"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertConfig:
    """One conversion; see `--help` for each field."""

    model: str
    target: str
    backend: str = ""
    precision: Precision = "fp32"
    weights: str = "auto"
    calib: Path | None = None
    calib_images: int = NUM_CALIBRATION_PICTURES
    calib_method: Literal["mse", "percentile", "min_max"] = "mse"
    data: Path | None = None
    data_images: int = NUM_COMPARED_PICTURES
    resolution: int | None = None
    float_between: Literal["fp16", "fp32"] = "fp16"
    etrecord: Path | None = None
    android: Path | None = None
    output_dir: Path = Path("artifacts")
    explain: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        roads = self.roads()
        for name in ("calib_images", "data_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not allowed; use 1 or more")
        if self.explain and self.precision != "int8":
            raise ValueError("--explain shows where int8 loses accuracy; add --int8")
        targets = [target for target, _ in roads]
        if self.etrecord is not None and "executorch" not in targets:
            raise ValueError(f"--etrecord is ExecuTorch's; {self.target} writes none")
        if self.android is not None and targets == ["coreml"]:
            raise ValueError("--android takes what Android runs, tflite or executorch; coreml is for Apple's systems")

    def roads(self) -> tuple[tuple[str, str], ...]:
        """Return the keys of TARGETS that are asked for."""
        return find_roads(self.target, self.backend, self.precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertResult:
    """What was written.

    Attributes:
        sqnr_to_graph_db: The file against the torch graph it was lowered from.
        slow_path: Operators that the runtime's fast kernels do not take, with the reason.
        layers: Where signal is lost, with --explain.
        android: What became part of the app, with --android.
    """

    artefact: Path
    manifest_path: Path
    manifest: "Manifest"
    notes: tuple[str, ...]
    sqnr_to_graph_db: float
    slow_path: tuple[str, ...]
    seconds: float
    layers: tuple[tuple[str, float], ...] = ()
    android: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedSet:
    """One graph in every format, and how far the files agree."""

    results: tuple[ConvertResult, ...]
    agreement: "Agreement"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="variant; `python -m edge_vit.models` lists all")
    parser.add_argument(
        "--target", required=True, metavar="TARGET",
        help=f"one of: {', '.join(target_names())}; or {ALL}, which compares them",
    )  # fmt: skip
    backends = "; ".join(f"{target}: {', '.join(backends_of(target))}" for target in target_names())
    parser.add_argument(
        "--backend", default="", metavar="NAME", help=f"who makes the file, the first by default ({backends})"
    )
    precision = parser.add_mutually_exclusive_group()
    for name, what in (("int8", "weights and activations"), ("fp16", "weights in half precision")):
        precision.add_argument(f"--{name}", dest="precision", action="store_const", const=name, help=what)
    parser.set_defaults(precision="fp32")
    parser.add_argument(
        "--weights", default="auto", metavar="SOURCE",
        help="auto (embedded, else published), imagenet (published), random, or a checkpoint's path",
    )  # fmt: skip
    parser.add_argument("--resolution", type=int, metavar="R", help="input side in pixels; default: as trained")
    parser.add_argument("--output-dir", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    parser.add_argument("--explain", action="store_true", help="show in which layers int8 loses accuracy")
    parser.add_argument("--json", action="store_true", help="print the manifest; with --target all, the comparison")
    _add_picture_arguments(parser)
    _add_target_arguments(parser)
    return parser


def _add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures")
    group.add_argument("--calib", type=Path, metavar="DIR", help="pictures to choose int8 ranges from")
    group.add_argument(
        "--calib-images", type=int, default=NUM_CALIBRATION_PICTURES, metavar="N", help="how many (%(default)s)"
    )
    group.add_argument(
        "--calib-method", choices=("mse", "percentile", "min_max"), default="mse", help="how a range is chosen (mse)"
    )
    group.add_argument(
        "--data", type=Path, metavar="DIR",
        help="pictures to verify on and, with --target all, to compare on; default: those of --calib, else drawn ones",
    )  # fmt: skip
    group.add_argument(
        "--data-images", type=int, default=NUM_COMPARED_PICTURES, metavar="N",
        help="how many to compare on, at most (%(default)s)",
    )  # fmt: skip


def _add_target_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of one target")
    group.add_argument(
        "--float-between", choices=("fp16", "fp32"), default="fp16",
        help="Core ML, int8: precision of what is not int8; the Neural Engine runs fp16 alone (%(default)s)",
    )  # fmt: skip
    group.add_argument("--etrecord", type=Path, metavar="FILE", help="ExecuTorch: write an ETRecord for its inspector")
    group.add_argument(
        "--android", type=Path, metavar="DIR", help="put the file into this Android app's assets (android_demo)"
    )


def run(config: ConvertConfig) -> ConvertResult:
    """Convert to one target, verify and describe; file and manifest appear together or not at all.

    Raises:
        ValueError: If model, weights, data or folder do not fit; the message says what to do.
        ImportError: If the target's package is missing; the message names the extra.
        RuntimeError: If the written file does not compute what it should.
    """
    if config.target == ALL:
        raise ValueError(f"run() converts to one target; use run_all() for {ALL}")
    return _run(config)[0][0]


def run_all(config: ConvertConfig) -> ConvertedSet:
    """Convert the same graph to every target and compare the files; all appear or none. Raises as `run`."""
    results, agreement = _run(config)
    assert agreement is not None
    return ConvertedSet(results=tuple(results), agreement=agreement)


def _run(config: ConvertConfig) -> "tuple[list[ConvertResult], Agreement | None]":
    from converters.result import staging
    from edge_vit.deployment.steps import convert_one, explain, prepare

    started = time.perf_counter()
    if config.android is not None:
        from edge_vit.deployment.android import check_project

        check_project(config.android)
    agreement = None
    with staging(config.output_dir, ".converting-") as folder:
        prepared = prepare(config)
        written: list[tuple[Converted, float]] = []
        for road in config.roads():
            written.append((convert_one(config, prepared, road, folder), time.perf_counter() - started))
            started = time.perf_counter()
        if config.target == ALL:
            from edge_vit.deployment.agreement import compare

            agreement = compare(config, prepared, [converted for converted, _ in written])
        layers = explain(prepared) if config.explain else ()
        return [_publish(config, prepared, one, layers, seconds) for one, seconds in written], agreement


def _publish(
    config: ConvertConfig,
    prepared: "Prepared",
    converted: "Converted",
    layers: tuple[tuple[str, float], ...],
    seconds: float,
) -> ConvertResult:
    from converters.manifest import manifest_path
    from converters.result import publish

    final = config.output_dir / converted.path.name
    publish(converted.path, final)
    publish(manifest_path(converted.path), manifest_path(final))
    return ConvertResult(
        artefact=final,
        manifest_path=manifest_path(final),
        manifest=converted.manifest,
        notes=prepared.float_model.notes,
        sqnr_to_graph_db=converted.sqnr_to_graph_db,
        slow_path=converted.slow_path,
        seconds=seconds,
        layers=layers,
        android=_put_into_app(config.android, final, converted.manifest.target),
    )


def _put_into_app(app: Path | None, artefact: Path, target: str) -> str:
    if app is None or target == "coreml":
        return ""
    from edge_vit.deployment import android

    (put,) = android.run(android.AndroidConfig(artefacts=(artefact,), into=app)).put
    return str(app / android.ASSETS.parent / put.asset)


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
    quantize = f"; {operators.quantize} QUANTIZE, {operators.dequantize} DEQUANTIZE" if operators.quantize else ""
    lines = [
        f"{result.artefact}  {manifest.file.num_bytes / 1e6:.2f} MB, {manifest.precision}, in {result.seconds:.0f} s",
        f"  weights        {manifest.weights.source}",
        f"  input          {manifest.input.dtype} {manifest.input.layout} {list(manifest.input.shape)}, RGB pixels",
        f"  operators      {counted}{quantize}",
        f"  float islands  {len(operators.float_islands)}" + _some(operators.float_islands),
        *_delegation(result),
        f"  verified       {verification.sqnr_db:.1f} dB and {100 * verification.top1_agreement:.1f}% same top-1 "
        f"against float, {result.sqnr_to_graph_db:.1f} dB against its own graph, on {verification.data}",
        f"  manifest       {result.manifest_path}",
    ]
    if result.android:
        lines.append(f"  in the app     {result.android}")
    if result.layers:
        lines.append("  signal to quantization noise by layer, in dB; the largest losses first:")
        lines += [f"    {loss:6.1f}  {name}" for name, loss in result.layers[:10]]
    return lines


def _delegation(result: ConvertResult) -> list[str]:
    operators = result.manifest.operators
    if result.manifest.target == "coreml":
        return []  # Core ML plans on the device
    if operators.delegate_calls is None:
        return [f"  slow path      {len(result.slow_path)}" + _some(result.slow_path)]
    outside = f"{len(operators.outside)} operators outside" + _some(operators.outside)
    return [f"  delegate calls {operators.delegate_calls}; {outside}"]


def _some(names: tuple[str, ...], most: int = 3) -> str:
    if not names:
        return ""
    return ": " + ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def main(argv: list[str] | None = None) -> int:
    from converters.result import remove_staging
    from edge_vit.deployment.interrupt import EXIT_CODE, heeded

    arguments = vars(build_parser().parse_args(argv))
    as_json = arguments.pop("json")
    words = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "-m", "edge_vit.convert", *words])
    with heeded(remove_staging, NOTHING_WRITTEN) as heed:
        try:
            lines = _convert_and_describe(ConvertConfig(**arguments, command=command), as_json)
        except (ValueError, ImportError, RuntimeError, KeyboardInterrupt) as e:
            if heed.was_pressed or isinstance(e, KeyboardInterrupt):
                print(NOTHING_WRITTEN, file=sys.stderr)
                return EXIT_CODE
            print(f"error: {e}", file=sys.stderr)
            return 1 if isinstance(e, RuntimeError) else 2
    print("\n".join(lines))
    return 0


def _convert_and_describe(config: ConvertConfig, as_json: bool) -> list[str]:
    if config.target != ALL:
        result = run(config)
        return [result.manifest.to_json()] if as_json else report(result)
    from edge_vit.deployment.agreement import table, to_json

    converted = run_all(config)
    if as_json:
        return [json.dumps(to_json(converted.agreement), indent=2, allow_nan=False)]
    lines = [line for result in converted.results for line in report(result)]
    return [*lines, *table(converted.agreement)]


if __name__ == "__main__":
    raise SystemExit(main())
