"""Compare an artefact with its float model on real pictures, and fail when it lost too much.

Both see the same pictures. With --max-drop the exit code is 0 only when the measured drop is within the limit and the
pictures rule out, with 95% confidence, a drop of twice the limit; it is 1 when the drop is larger or when there are too
few pictures to tell, and then the number needed is printed.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vit.evaluation.comparison import AccuracyConfig, AccuracyResult

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artefact", type=Path, metavar="ARTEFACT", help="converted file, its .json manifest beside it")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with one sub-folder a class, or a list"
    )
    parser.add_argument("--max-drop", type=float, metavar="POINTS", help="largest drop of top-1 that passes")
    parser.add_argument("--limit", type=int, metavar="N", help="use N pictures, balanced over the classes")
    parser.add_argument(
        "--float", type=Path, metavar="ARTEFACT", dest="float_artefact",
        help="compare with this float artefact; default: the torch model from the manifest's weights",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default: %(default)s)")
    parser.add_argument(
        "--runtime", default="", metavar="NAME",
        help="what runs the file: hexagon, Qualcomm's simulator of its NPU, for .onnx; default: the format's own",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object, with a table by class")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 when the gate fails, 2 for misuse."""
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted="interrupted; nothing was measured")


def _answer(argv: list[str] | None) -> "Answer":
    from edge_vit import api
    from edge_vit.console.answer import Answer

    arguments = vars(build_parser().parse_args(argv))
    as_json = arguments.pop("json")
    result = api.evaluate(AccuracyConfig(**arguments), _Progress())
    from calibration.dataset import skipped_lines

    return Answer(
        text=_to_json(result) if as_json else "\n".join(_report(result)),
        code=0 if result.verdict is None or result.verdict.outcome == "pass" else 1,
        remarks=tuple(skipped_lines(result.skipped)),
    )


def _report(result: AccuracyResult) -> list[str]:
    overall = result.overall
    low, high = overall.interval_points
    lines = [
        f"{result.artefact} against {result.reference} on {overall.num_images} pictures",
        f"  top-1      {overall.artefact_top1:.2f}%, float {overall.float_top1:.2f}%",
        f"  drop       {overall.drop_points:.2f} points, 95% interval {low:.2f} to {high:.2f} "
        f"({overall.losses} lost, {overall.gains} won, McNemar p = {overall.mcnemar_p:.2g})",
        f"  agreement  {100 * overall.agreement:.2f}% same top-1",
        f"  {result.compared:<10} {overall.sqnr_db:.1f} dB over quantization noise; margin of the true class "
        f"{overall.float_margin:.2f} in float, {overall.margin_change:+.3f} here",
    ]
    return lines + ([f"{result.verdict.outcome}: {result.verdict.message}"] if result.verdict else [])


def _to_json(result: AccuracyResult) -> str:
    from converters.manifest import storable_db

    plain = dataclasses.asdict(result)
    plain["overall"]["sqnr_db"] = storable_db(result.overall.sqnr_db)
    return json.dumps(plain, indent=2, allow_nan=False, default=str)


class _Progress:
    def __init__(self) -> None:
        from edge_vit.console.progress import ProgressLine

        self._line, self._start = ProgressLine(), time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        rate = done / max(time.monotonic() - self._start, 1e-9)
        line = f"{done}/{total} pictures, {rate:.0f} a second, {(total - done) / max(rate, 1e-9):.0f} s left"
        self._line.show(line, is_last=done == total)


if __name__ == "__main__":
    raise SystemExit(main())
