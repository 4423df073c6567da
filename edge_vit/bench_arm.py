"""Measure a model's latency on ARM devices, or count its instructions on an emulated ARM core."""

import argparse
import json
import sys
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m edge_vit.bench_arm", description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--emulate", action="store_true")
    parser.add_argument("--by-operator", action="store_true")
    parser.add_argument("--cpu", action="append")
    parser.add_argument("--json", action="store_true")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = build_parser().parse_args(argv)
    from collections import Counter

    from edge_vit.bench import emulation

    try:
        toolchain = emulation.prepare()
        for model in arguments.models:
            for cpu in arguments.cpu or ["cortex-a76"]:
                result = emulation.emulate(model, cpu, with_profile=arguments.by_operator, toolchain=toolchain)
                if arguments.json:
                    record = {"model": str(model), "cpu": cpu, "emulated": True, "instructions": result.instructions}
                    if result.profile:
                        record["operators"] = [[o.kind, o.kernel, o.instructions] for o in result.profile.operators]
                    print(json.dumps(record))
                    continue
                print(f"{model} {cpu} emulated: {result.instructions:,} instructions per inference")
                if result.profile:
                    groups: Counter = Counter()
                    number: Counter = Counter()
                    for o in result.profile.operators:
                        groups[o.kind, o.kernel] += o.instructions
                        number[o.kind, o.kernel] += 1
                    for (kind, kernel), count in groups.most_common():
                        print(f"{count:>14,} {count / result.instructions:6.1%} {number[kind, kernel]:>4} x {kind:20} {kernel}")
                    print(f"{result.profile.overhead:>14,} {result.profile.overhead / result.instructions:6.1%}        between operators")
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
