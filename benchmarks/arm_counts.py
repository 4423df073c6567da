"""Count the instructions of one inference on emulated ARM cores, int8 against float, each measured twice.

    python benchmarks/arm_counts.py [--artifacts artifacts] [--models levit_128s levit_256] [--json]

Prints a Markdown table and, for the first model, where the instructions go. Exits with 1 when two measurements of the
same file differ by more than 0.1%.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_vit.emulation import report as emulation_report
from edge_vit.emulation import tflite as emulation

PRECISIONS = ("fp32", "int8")
TOLERANCE = 1e-3


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--models", nargs="+", default=["levit_128s", "levit_256"])
    parser.add_argument("--json", action="store_true")
    return parser


def find_artefacts(folder: Path, models: Sequence[str]) -> dict[str, list[Path]]:
    """Return each model's float and int8 file.

    Raises:
        ValueError: If one is missing, with the commands that make it.
    """
    found: dict[str, list[Path]] = {}
    for model in models:
        found[model] = [folder / f"{model}_{precision}.tflite" for precision in PRECISIONS]
        for path in found[model]:
            if not path.is_file():
                flag = " --int8" if "int8" in path.name else ""
                make = f"python -m edge_vit.convert {model} --target tflite{flag} --output-dir {folder}"
                raise ValueError(f"no {path}; make it with: {make}")
    return found


def measure(files: Sequence[Path], with_operators: bool) -> list[dict]:
    """Count twice, in separate emulator runs; the record carries both counts."""
    passes = []
    for _ in range(2):
        passes.append(
            emulation_report.measure(
                files,
                emulation.DEFAULT_CPUS,
                with_operators=with_operators,
                runs=2,
                cache_dir=None,
                progress=lambda message: print(message, file=sys.stderr),
            )
        )
    for first, second in zip(*passes, strict=True):
        first["instructions_again"] = second["instructions"]
        first["repeats_within"] = abs(second["instructions"] / first["instructions"] - 1)
    return passes[0]


def table(records: Sequence[dict]) -> str:
    """Return the Markdown table."""
    lines = [
        "| file | core | instructions | again | of float | output against host's |",
        "|---|---|---:|---:|---:|---|",
    ]
    for r in records:
        lines.append(
            f"| {r['model']} | {r['cpu']} | {r['instructions']:,} | {r['instructions_again']:,} "
            f"| {r['against_first']:.3f} | {emulation_report.describe_output(r)} |"
        )
    first = records[0]
    what = f"{emulation_report.WHAT_IT_IS} LiteRT {first['litert_version']}. Host: {first['host_cpu']}."
    return "\n".join([*lines, "", what])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    records: list[dict] = []
    try:
        for i, files in enumerate(find_artefacts(arguments.artifacts, arguments.models).values()):
            records += measure(files, with_operators=i == 0)
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(records, indent=1))
    else:
        print(table(records))
        for r in records:
            if r["operators"]:
                print("\n".join(["", f"{r['model']} on {r['cpu']}", *emulation_report.operator_lines(r)]))
    return 0 if all(r["repeats_within"] <= TOLERANCE for r in records) else 1


if __name__ == "__main__":
    raise SystemExit(main())
