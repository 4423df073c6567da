"""Write one HTML page about converted files: what they are, how to load them, how good they are, what they cost.

python -m edge_vit.report artifacts/levit_128s_int8.tflite --data DIR/val
python -m edge_vit.report INT8.tflite FP32.tflite --bench results/ --data DIR/val     two files side by side
python -m edge_vit.report INT8.tflite INT8.pte INT8.mlpackage                         do the formats agree?

python -m edge_vit.report INT8.tflite FP32.tflite --serve                             try them in a browser

The page holds all that it shows: it runs no script and makes no request. The same values lie beside it as JSON.
--serve writes nothing: a page on this machine runs the files in the browser, until Ctrl-C.
"""

import argparse
import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer
    from edge_vit.findings.request import ReportRequest, ReportResult


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "artefacts", nargs="+", type=Path, metavar="ARTEFACT", help="converted file, its .json manifest beside it"
    )
    parser.add_argument(
        "--bench", action="append", type=Path, default=[], metavar="RECORDS",
        help="what bench_arm --json printed, or its --results folder; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--sensitivity", action="append", type=Path, default=[], metavar="FILE",
        help="what sensitivity --json printed; may be given several times",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="DIR", help="measure accuracy on this folder or list of pictures")
    parser.add_argument("--limit", type=int, metavar="N", help="use N pictures, balanced over the classes")
    parser.add_argument(
        "--float", type=Path, metavar="ARTEFACT", dest="float_artefact",
        help="compare with this float artefact; default: the torch model from the manifest's weights",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="FILE.html", help="the page (default: report.html beside the first artefact)"
    )
    parser.add_argument(
        "--serve", action="store_true", help="run the files in a page of the browser, with LiteRT.js (needs npm once)"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of --serve (default: any that is free)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 for misuse."""
    from converters.result import remove_staging
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted="interrupted; nothing was written", clean_up=remove_staging)


def _answer(argv: Sequence[str] | None) -> "Answer":
    from edge_vit import api
    from edge_vit.console.answer import Answer
    from edge_vit.console.progress import ProgressLine
    from edge_vit.findings.request import ReportRequest

    words = list(sys.argv[1:] if argv is None else argv)
    arguments = vars(build_parser().parse_args(words))
    as_json, is_served, port = (arguments.pop(name) for name in ("json", "serve", "port"))
    for name in ("artefacts", "bench", "sensitivity"):
        arguments[name] = tuple(arguments[name])
    command = shlex.join(["python", "-m", "edge_vit.report", *words])
    line = ProgressLine()

    def progress(name: str, done: int, total: int) -> None:
        line.show(f"{name}: {done}/{total} pictures", is_last=done == total)

    request = ReportRequest(**arguments, command=command)
    if is_served:
        return _serve(request, port)
    if port:
        raise ValueError(f"--port {port} is of --serve; add that, or leave the port out")
    result = api.report(request, progress)
    return Answer(text=_to_json(result) if as_json else "\n".join(_lines(result)), remarks=result.skipped)


def _serve(request: "ReportRequest", port: int) -> "Answer":
    from edge_vit import api
    from edge_vit.console.answer import Answer

    with api.serve(request, port) as server:
        print(server.address, flush=True)
        print(f"on a phone: adb reverse tcp:{server.server_port} tcp:{server.server_port}, then the same address")
        print("Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return Answer()


def _lines(result: "ReportResult") -> list[str]:
    lines = [f"{result.page}  {result.num_bytes / 1e6:.2f} MB, the same values in {result.values.name}"]
    for gap in result.left_out:
        lines.append(f"  without {gap.part}{f' of {gap.artefact}' if gap.artefact else ''}: {gap.reason}")
    return lines


def _to_json(result: "ReportResult") -> str:
    return json.dumps(dataclasses.asdict(result), indent=2, default=str)


if __name__ == "__main__":
    raise SystemExit(main())
