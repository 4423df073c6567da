"""List the variants with their parameters and multiply-adds: python -m edge_vit.models [NAME ...] [--json]."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_vit.models.limits import check_limits
from edge_vit.models.names import VARIANT_NAMES, check_name

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer
    from edge_vit.models.summary import ModelSummary


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(prog="python -m edge_vit.models", description=__doc__.split(":")[0] + ".")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variants to list (default: all)")
    parser.add_argument(
        "--resolution", type=parse_resolution, metavar="SIDE|HxW", help="input in pixels (default: each variant's own)"
    )
    parser.add_argument("--num-classes", type=int, default=1000, help="outputs of the head (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def parse_resolution(text: str) -> int | tuple[int, int]:
    """Return 224 for "224", (576, 960) for "576x960"."""
    try:
        sides = [int(part) for part in text.split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; use 224 or 576x960")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def run(names: Sequence[str], num_classes: int, resolution: int | tuple[int, int] | None) -> list["ModelSummary"]:
    """Count each named variant, all when none is named.

    Raises:
        ValueError: If a name, the number of classes or the resolution is not allowed.
    """
    for name in names:
        check_name(name)
    check_limits(num_classes)
    from edge_vit.models import summary

    return [summary.summarise(name, num_classes, resolution) for name in names or VARIANT_NAMES]


def render_table(summaries: Sequence["ModelSummary"]) -> str:
    """Return a table for people."""
    from edge_vit.models.published import PUBLISHED

    lines = [f"{'variant':<26}{'input':>10}{'params':>15}{'batch norm folded':>19}{'MMAC':>10}  published weights"]
    for s in summaries:
        weights = PUBLISHED.get(s.name)
        licence = weights.licence.partition(":")[0] if weights else "-"
        counts = f"{s.num_params:>15,}{s.num_params_folded:>19,}{s.mmac:>10.0f}"
        lines.append(f"{s.name:<26}{f'{s.height} x {s.width}':>10}{counts}  {licence}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted="interrupted")


def _answer(argv: Sequence[str] | None) -> "Answer":
    from edge_vit.console.answer import Answer

    args = build_parser().parse_args(argv)
    summaries = run(args.names, args.num_classes, args.resolution)
    plain = [dataclasses.asdict(s) for s in summaries]
    return Answer(text=json.dumps(plain, indent=1) if args.json else render_table(summaries))


if __name__ == "__main__":
    raise SystemExit(main())
