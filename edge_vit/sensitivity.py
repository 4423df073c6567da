"""Show which layer loses the accuracy in int8, on real pictures.

python -m edge_vit.sensitivity levit_128s --data DIR/val
python -m edge_vit.sensitivity levit_128s --weights FLOAT.safetensors --calib DIR/train --data DIR/val

python -m edge_vit.sensitivity levit_128s --artefact artifacts/levit_128s_int8.tflite --data DIR/val

A layer is one range with the operators that write to it. Each is measured alone in int8, all others in float: what it
does to its own values, to the logits and to the loss; and alone in float, all others in int8.

With --artefact the written file is run, and the value of every int8 operator in it compared with the int8 graph's and
with the float network's. The graph computes each operator from the file's own inputs, so that a fault of the runtime
shows where it happens; exit code 1 when there is one.
"""

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_vit.deployment.request import CALIBRATION_METHODS, NUM_CALIBRATION_PICTURES
from edge_vit.deployment.sensitivity import NUM_PICTURES, NUM_PICTURES_OF_A_FILE, SensitivityConfig
from edge_vit.models.names import size_of
from edge_vit.models.sources import CHOICES

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer
    from edge_vit.deployment.sensitivity import SensitivityResult
    from edge_vit.deployment.written import ArtefactResult

_SHOWN = 20
_HEAD = (
    f"{'logits dB':>9} {'own dB':>7} {'loss alone':>11} {'loss without':>13} {'range':>17} {'seen':>17} {'clipped':>8} "
    f"{'outliers':>8}  layer"
)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.sensitivity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", metavar="MODEL", help="variant, or FILE.py:function; `python -m edge_vit.models` lists all"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR",
        help="pictures to measure on: one sub-folder a class, a list, or a flat folder",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=int, metavar="N",
        help=f"how many ({NUM_PICTURES}; with --artefact {NUM_PICTURES_OF_A_FILE})",
    )  # fmt: skip
    parser.add_argument(
        "--artefact", type=Path, metavar="FILE", help="measure this int8 file, its .json manifest beside it"
    )
    parser.add_argument("--weights", default="auto", metavar="SOURCE", help=CHOICES)
    parser.add_argument(
        "--raw-weights", action="store_true", help="of a file with raw and averaged weights take the raw ones"
    )
    parser.add_argument("--calib", type=Path, metavar="DIR", help="pictures to choose ranges from, of float weights")
    parser.add_argument(
        "--calib-images", type=int, default=NUM_CALIBRATION_PICTURES, metavar="N", help="how many (%(default)s)"
    )
    parser.add_argument(
        "--calib-method",
        choices=CALIBRATION_METHODS,
        default="corrected",
        help="how ranges are chosen (corrected: mse, and biases that take up what int8 shifts), as of convert",
    )
    parser.add_argument("--resolution", metavar="R|HxW", help="input side in pixels, or both; default: as trained")
    parser.add_argument("--all", action="store_true", help=f"show every layer, not the first {_SHOWN}")
    parser.add_argument("--json", action="store_true", help="print one JSON object with every layer")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 for a file that computes something else, 2 for misuse."""
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted="interrupted; nothing was measured")


def _answer(argv: list[str] | None) -> "Answer":
    from edge_vit import api
    from edge_vit.console.answer import Answer

    arguments = vars(build_parser().parse_args(argv))
    as_json, shows_all = arguments.pop("json"), arguments.pop("all")
    if arguments["resolution"] is not None:
        arguments["resolution"] = size_of(arguments["resolution"])
    config, most = SensitivityConfig(**arguments), None if shows_all else _SHOWN
    if config.artefact is not None:
        file = api.fidelity(config, _say)
        text = _to_json(file) if as_json else "\n".join(_report_file(file, most))
        return Answer(text=text, code=0 if file.is_faithful else 1, remarks=file.skipped)
    result = api.sensitivity(config, _say)
    text = _to_json(result) if as_json else "\n".join(_report(result, most))
    return Answer(text=text, remarks=result.skipped)


def _report(result: "SensitivityResult", most: int | None) -> list[str]:
    measured = result.measured
    top1 = "" if measured.float_top1 is None else f", top-1 {measured.float_top1:.2f}%"
    int8_top1 = "" if measured.int8_top1 is None else f", top-1 {measured.int8_top1:.2f}%"
    lines = [
        f"{result.model}, {result.precision}, {result.weights}, on {result.data}",
        f"  float  loss {measured.float_loss:.4f}{top1}",
        f"  int8   loss {measured.int8_loss:.4f}{int8_top1}, logits {measured.logits_db:.1f} dB, "
        f"{100 * measured.agreement:.2f}% same top-1 as these weights in float",
        "",
        _HEAD,
    ]
    for one in measured.layers[:most]:
        outliers = "-" if one.outliers is None else f"{one.outliers}/{one.channels}"
        lines.append(
            f"{one.logits_db:>9.1f} {one.own_db:>7.1f} {one.loss_alone:>+11.4f} {one.loss_without:>+13.4f} "
            f"{_span(one.low, one.high):>17} {_span(one.seen_low, one.seen_high):>17} {100 * one.clipped:>7.3f}% "
            f"{outliers:>8}  {one.name}"
        )
    if most is not None and len(measured.layers) > most:
        lines.append(f"and {len(measured.layers) - most} more; --all shows them")
    return lines


def _report_file(result: "ArtefactResult", most: int | None) -> list[str]:
    lines = [
        f"{result.artefact} on {result.data}",
        f"  logits     {result.graph_db:.1f} dB to its graph, {result.float_db:.1f} dB to the float network",
        f"  integers   {result.shared} of {result.operators} int8 operators as in the graph: kind, weights, grids",
    ]
    if result.written is None:
        return [*lines, f"  operators  {result.reason}"]
    layers = sorted(result.written.layers, key=lambda one: (-one.steps, -one.off, one.graph_db))
    lines += ["", f"{'steps':>5} {'off':>8} {'to graph':>9} {'to float':>9} {'int8 alone':>11}  operator"]
    for one in layers[:most]:
        lines.append(
            f"{one.steps:>5} {100 * one.off:>7.3f}% {one.graph_db:>9.1f} {one.float_db:>9.1f} "
            f"{one.quantization_db:>11.1f}  {one.name}"
        )
    if most is not None and len(layers) > most:
        lines.append(f"and {len(layers) - most} more; --all shows them")
    worst = max((one.steps for one in layers), default=0)
    found = (
        f"fault: {', '.join(result.faulty[:3])} compute something else than the graph from the same inputs"
        if result.faulty
        else f"no fault of the runtime: from the same inputs no value is more than {worst} of its steps off the graph's"
    )
    return [*lines, "", found]


def _span(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def _to_json(result: "SensitivityResult | ArtefactResult") -> str:
    return json.dumps(_storable(dataclasses.asdict(result)), indent=2, allow_nan=False)


def _storable(value: Any) -> Any:
    """Return plain values with null for ratios without noise, which JSON cannot say."""
    if isinstance(value, dict):
        return {key: _storable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
