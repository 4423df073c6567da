"""Convert a variant to a file that a phone runs, verify it, and describe it in a manifest.

    python -m edge_vit.convert levit_128s --target tflite --int8

writes artifacts/levit_128s_int8.tflite and artifacts/levit_128s_int8.tflite.json. --target all writes a file for every
target from the same graph and compares them.
"""

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.tflite.chips import explanation as chips_explained
from edge_vit.deployment.request import (
    BUDGET,
    CALIBRATION_METHODS,
    FREE,
    NUM_CALIBRATION_PICTURES,
    NUM_COMPARED_PICTURES,
    ConvertConfig,
    ConvertResult,
)
from edge_vit.deployment.targets import ALL, backends_of, target_names
from edge_vit.models.names import size_of
from edge_vit.models.own_flags import add_own_arguments
from edge_vit.models.sources import CHOICES
from edge_vit.quantization.processors import PROCESSORS, explanation

if TYPE_CHECKING:
    from converters.manifest import FeatureMap
    from edge_vit.console.answer import Answer
    from edge_vit.deployment.request import ConvertedSet

NOTHING_WRITTEN = "interrupted; nothing was written"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", metavar="MODEL",
        help="variant (`python -m edge_vit.models` lists all), or a function that returns a network of your own, "
        "FILE.py:function or package.module:function",
    )  # fmt: skip
    parser.add_argument(
        "--target", required=True, metavar="TARGET",
        help=f"one of: {', '.join(target_names())}; or {ALL}, which compares them",
    )  # fmt: skip
    backends = "; ".join(f"{target}: {', '.join(backends_of(target))}" for target in target_names())
    parser.add_argument(
        "--backend", default="", metavar="NAME", help=f"who makes the file, the first by default ({backends})"
    )
    precision = parser.add_mutually_exclusive_group()
    for name, what in (
        ("int8", "weights and activations"),
        ("int16", "int8 weights, int16 activations; for NPUs"),
        ("fp16", "weights in half precision"),
    ):
        precision.add_argument(f"--{name}", dest="precision", action="store_const", const=name, help=what)
    parser.set_defaults(precision="fp32")
    parser.add_argument(
        "--processor", default="", metavar="NAME", action=_Processor,
        help=f"what the file is to run on: {', '.join(PROCESSORS)} (cpu; npu with --int16); list explains",
    )  # fmt: skip
    parser.add_argument(
        "--io", choices=("uint8", "int8"), default="uint8",
        help="uint8: pixels in, floats out; int8, .tflite alone: pixels less 128 in, integers out (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--weights", default="auto", metavar="SOURCE", help=CHOICES)
    parser.add_argument(
        "--raw-weights", action="store_true", help="of a file with raw and averaged weights take the raw ones"
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE",
        help="class names, one a line or as JSON, in the order of the classes; default: those of the weights",
    )  # fmt: skip
    parser.add_argument(
        "--output", choices=("logits", "probabilities"), default="logits",
        help="what the file gives; apps that know nothing of a model expect probabilities (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--features", action="store_true", help="the stages' maps in place of classes, for detectors and segmenters"
    )
    parser.add_argument("--resolution", metavar="R|HxW", help="input side in pixels, or both; default: as trained")
    parser.add_argument(
        "--batch", type=_batch, default=1, metavar="N", help=f"pictures at once (%(default)s); {FREE}: any, onnx alone"
    )
    parser.add_argument("--output-dir", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    parser.add_argument("--explain", action="store_true", help="show in which layers int8 loses accuracy")
    parser.add_argument("--json", action="store_true", help="print the manifest; with --target all, the comparison")
    _add_picture_arguments(parser)
    add_own_arguments(parser)
    _add_target_arguments(parser)
    return parser


class _Processor(argparse.Action):
    """Take a name; explain all where it is "list"."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: object = None
    ) -> None:
        if values == "list":
            print("\n".join(explanation()))
            parser.exit()
        namespace.processor = values


class _Npu(argparse.Action):
    """Take names of chips; name all where it is "list"."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: object = None
    ) -> None:
        if values == "list":
            print("\n".join(chips_explained()))
            parser.exit()
        namespace.npu = values


def _batch(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdecimal() else text


def _add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures")
    group.add_argument("--calib", type=Path, metavar="DIR", help="pictures to choose int8 ranges from")
    group.add_argument(
        "--calib-images", type=int, default=NUM_CALIBRATION_PICTURES, metavar="N", help="how many (%(default)s)"
    )
    group.add_argument(
        "--calib-method",
        choices=CALIBRATION_METHODS,
        default="",
        help="how ranges are chosen (corrected; best with --int16); corrected: mse, least squared error, and biases "
        "that take up what int8 shifts; best: by what it does to the logits, weights and biases corrected, in minutes",
    )
    group.add_argument(
        "--data", type=Path, metavar="DIR",
        help="pictures to verify on and, with --target all, to compare on; default: those of --calib, else drawn ones",
    )  # fmt: skip
    group.add_argument(
        "--data-images", type=int, default=NUM_COMPARED_PICTURES, metavar="N",
        help="how many to compare on, at most (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--max-drop", type=float, metavar="POINTS",
        help="leave as few operators in float as keep top-1 on --data within so many points of float's",
    )  # fmt: skip


def _add_target_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of one target")
    group.add_argument(
        "--float-between", choices=("fp16", "fp32"), default="fp16",
        help="Core ML, int8: precision of what is not int8; the Neural Engine runs fp16 alone (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--npu", default="", metavar="CHIP[,CHIP]", action=_Npu,
        help="tflite: compile ahead of time for these chips' NPUs too, several also as an AI pack; list names all",
    )  # fmt: skip
    group.add_argument("--etrecord", type=Path, metavar="FILE", help="ExecuTorch: write an ETRecord for its inspector")
    group.add_argument(
        "--android", type=Path, metavar="DIR", help="put the file into this Android app's assets (android_demo)"
    )


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
    quantize = f"; {operators.quantize} QUANTIZE, {operators.dequantize} DEQUANTIZE" if operators.quantize else ""
    lines = [
        f"{result.artefact}  {manifest.file.num_bytes / 1e6:.2f} MB, {manifest.precision}, in {result.seconds:.0f} s",
        f"  weights        {manifest.weights.source}",
        f"  input          {manifest.input.takes}",
        f"  operators      {counted}{quantize}",
        f"  float islands  {len(operators.float_islands)}" + _some(operators.float_islands),
        *_delegation(result),
        *(_map(entry) for entry in manifest.features),
        f"  verified       {manifest.verification_reason}"
        if verification is None
        else f"  verified       {verification.sqnr_db:.1f} dB{_top1(verification.top1_agreement)} against float, "
        f"{result.sqnr_to_graph_db:.1f} dB against its own graph, on {verification.data}",
        f"  manifest       {result.manifest_path}",
    ]
    lines += [
        f"  {one.chip.lower():<14} {one.offloaded} of {one.total} operators on the NPU, {one.partitions} partition(s): "
        f"{one.file.name}, {one.file.num_bytes / 1e6:.2f} MB"
        for one in manifest.npu_files
    ]
    if result.ai_pack:
        lines.append(f"  AI pack        {result.ai_pack}")
    if result.android:
        lines.append(f"  in the app     {result.android}")
    lines += _budget(manifest.quantization.get(BUDGET))
    if result.layers:
        lines.append("  signal to quantization noise by layer, in dB; the largest losses first:")
        lines += [f"    {loss:6.1f}  {name}" for name, loss in result.layers[:10]]
    return lines


def _budget(found: "dict[str, Any] | None") -> list[str]:
    """Return what a search for operators in float found, line by line."""
    if found is None:
        return []
    more = found["instructions"] / found["int8_instructions"] - 1.0
    lines = [
        f"  budget         drop {found['drop_points']:.2f} of {found['max_drop_points']:g} points on {found['data']}; "
        f"{len(found['concessions'])} concessions, {100 * more:+.1f}% instructions (estimated for {found['cpu']})"
    ]
    for one in found["concessions"]:
        lines.append(
            f"    float  {one['layer']} ({one['kind']}, {len(one['operators'])} operators): "
            f"{100 * one['noise_share']:.1f}% of the noise for {one['instructions'] / 1e6:+.2f} M instructions"
        )
    return lines


def _map(entry: "FeatureMap") -> str:
    return f"  {entry.name:<14} {list(entry.shape)}, stride {entry.stride}: {entry.sqnr_db:.1f} dB against float"


def _top1(agreement: float | None) -> str:
    return "" if agreement is None else f" and {100 * agreement:.1f}% same top-1"


def _delegation(result: ConvertResult) -> list[str]:
    operators = result.manifest.operators
    if result.manifest.target == "coreml":
        return []  # Core ML plans on the device
    if result.manifest.processor != "cpu":
        return [f"  made for       {result.manifest.processor}"]
    if operators.delegate_calls is None:
        return [f"  slow path      {len(result.slow_path)}" + _some(result.slow_path)]
    outside = f"{len(operators.outside)} operators outside" + _some(operators.outside)
    return [f"  delegate calls {operators.delegate_calls}; {outside}"]


def _some(names: tuple[str, ...], most: int = 3) -> str:
    if not names:
        return ""
    return ": " + ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 when a file does not compute what it should, 2 for misuse."""
    from converters.result import remove_staging
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted=NOTHING_WRITTEN, clean_up=remove_staging)


def _answer(argv: list[str] | None) -> "Answer":
    from edge_vit import api
    from edge_vit.console.answer import Answer

    arguments = vars(build_parser().parse_args(argv))
    as_json = arguments.pop("json")
    if arguments["resolution"] is not None:
        arguments["resolution"] = size_of(arguments["resolution"])
    words = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "-m", "edge_vit.convert", *words])
    converted = api.export(ConvertConfig(**arguments, command=command), _say)
    return Answer(text="\n".join(_lines(converted, as_json)))


def _lines(converted: "ConvertedSet", as_json: bool) -> list[str]:
    """Return what is printed: the manifest or the summary of one file; of several also how they compare."""
    if converted.agreement is None:
        if as_json and len(converted.results) > 1:  # backbones, which are not compared
            return [json.dumps([json.loads(r.manifest.to_json()) for r in converted.results], indent=2)]
        results = converted.results
        return [results[0].manifest.to_json()] if as_json else [line for one in results for line in report(one)]
    if as_json:
        return [json.dumps(dataclasses.asdict(converted.agreement), indent=2, allow_nan=False)]
    from edge_vit.deployment.agreement import table

    lines = [line for result in converted.results for line in report(result)]
    return [*lines, *table(converted.agreement)]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
