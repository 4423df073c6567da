"""Show what an artefact sees in pictures: the most likely classes, with bars. --draw makes a picture to try it on."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vit.evaluation.classification import Classified, ClassifyConfig

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer

BAR_WIDTH = 30


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m edge_vit.classify", description=__doc__)
    parser.add_argument("artefact", type=Path, metavar="ARTEFACT", help="converted file, its .json manifest beside it")
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE", help="pictures to classify")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw a picture, save it as FILE and classify it")
    parser.add_argument("--subject", default="golf ball", help="golf ball (default) or parachute: what to draw")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes to show (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 when a picture could not be read, 2 for misuse."""
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted="interrupted")


def _answer(argv: list[str] | None) -> "Answer":
    from edge_vit import api
    from edge_vit.console.answer import Answer

    # Intermixed: pictures may also follow an option, as in `ARTEFACT --draw a.png b.png`.
    arguments = vars(build_parser().parse_intermixed_args(argv))
    as_json = arguments.pop("json")
    results = api.classify(ClassifyConfig(**arguments | {"images": tuple(arguments["images"])}))
    shown = ["\n".join(_lines(result)) for result in results if result.error is None]
    text = json.dumps([dataclasses.asdict(r) for r in results], indent=2) if as_json else "\n\n".join(shown)
    errors = tuple(f"error: {result.error}" for result in results if result.error is not None)
    return Answer(text=text, code=1 if errors else 0, remarks=errors)


def bar(share: float, *, is_plain: bool) -> str:
    """Return a bar of up to BAR_WIDTH characters, in eighths of one where the terminal has the signs."""
    if is_plain:
        return "#" * round(share * BAR_WIDTH)
    eighths = round(share * BAR_WIDTH * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _lines(result: Classified) -> list[str]:
    try:
        "█▏▉".encode(sys.stdout.encoding or "ascii")
        is_plain = False
    except UnicodeEncodeError:
        is_plain = True
    width = max(len(guess.name) for guess in result.guesses)
    lines = [result.image]
    for guess in result.guesses:
        drawn = bar(guess.probability, is_plain=is_plain)
        lines.append(f"  {guess.name:<{width}}  {100 * guess.probability:5.1f}%  {drawn}".rstrip())
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
