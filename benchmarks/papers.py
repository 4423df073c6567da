"""The papers' comparisons on processors, as ratios of instructions on emulated ARM cores.

    python benchmarks/papers.py --calib DIR [--artifacts DIR] [--cpus cortex-a76 ...] [--results FILE]
                                [--output docs/arm.md] [--json]

LeViT-192 against EfficientNet-B2 (260 pixels), EfficientViT-M5 against MobileNetV3-Large, EfficientViT-M2 against
MobileViT-XXS (256 pixels): all random weights, 1000 classes, all through edge_vit.convert, in float and in int8 with
ranges from --calib. A ratio tells how many times the instructions of ours the other one needs. Where a file cannot be
made, the table says so. --results keeps the counts as JSON lines; what is there of the same file is not counted again.
The papers' figures are images a second of float models: LeViT, Graham et al. 2021, batch 16 on
one thread of a Xeon and on an ARM server core; EfficientViT, Liu et al. 2023, on a Xeon and in ONNX Runtime.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arm_counts import put_into

from converters.checksum import sha256_file
from edge_vit.devices import results as records_of
from edge_vit.devices import runner_build
from edge_vit.emulation import report, tflite
from edge_vit.emulation.cores import CPUS

RIVALS = Path(__file__).with_name("rivals.py")
# Ours, theirs, and how many times faster the paper has ours.
PAIRS = (
    ("levit_192", "efficientnet_b2", "4.9x (65 to 13.2 images/s, Xeon), 18.6x (24.2 to 1.3, ARM server core)"),
    ("efficientvit_m5", "mobilenetv3_large", "1.45x (Xeon)"),
    ("efficientvit_m2", "mobilevit_xxs", "3.7x (Xeon), 7.4x (ONNX Runtime)"),
)
PRECISIONS = ("fp32", "int8")
BEGIN, END = "<!-- papers: begin -->", "<!-- papers: end -->"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calib", type=Path, required=True, help="as in edge_vit.convert")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=["cortex-a76", "armv8.6-i8mm"])
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep the records here, one a line")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a page to put the table into")
    parser.add_argument("--json", action="store_true")
    return parser


def make(network: str, precision: str, arguments: argparse.Namespace) -> Path:
    """Return a network's file, converted now unless it is there.

    Raises:
        ValueError: If it cannot be converted, with what the command said.
    """
    path = arguments.artifacts / f"{network}_{precision}.tflite"
    if not path.is_file():
        is_ours = network in {ours for ours, _, _ in PAIRS}
        words = [network, "--weights", "random"] if is_ours else [f"{RIVALS}:{network}"]
        words += ["--target", "tflite", "--output-dir", str(arguments.artifacts)]
        words += ["--int8", "--calib", str(arguments.calib)] if precision == "int8" else []
        print(f"converting {network} {precision}", file=sys.stderr)
        done = subprocess.run([sys.executable, "-m", "edge_vit.convert", *words], capture_output=True, text=True)
        if done.returncode:
            raise ValueError(next((line for line in done.stderr.splitlines() if "error: " in line), done.stderr[-200:]))
    return path


def count(network: str, precision: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the instructions on every core, or why there are none; what is counted is kept in --results at once."""
    found: dict[str, Any] = {"network": network, "precision": precision, "instructions": {}}
    try:
        path = make(network, precision, arguments)
        known = records_of.load_lines(arguments.results, is_record) if arguments.results else []
        for cpu in arguments.cpus:
            key = {"network": network, "precision": precision, "cpu": cpu, "sha256": sha256_file(path)}
            record = next((r for r in known if key.items() <= r.items()), None)
            if record is None:
                print(f"{cpu}: {path.name}", file=sys.stderr)
                record = key | {"count": tflite.count_instructions(path, cpu, runs=1)}
                if arguments.results:
                    records_of.append_lines(arguments.results, [record])
            found["instructions"][cpu] = record["count"]
    except ValueError as e:
        return {"network": network, "precision": precision, "failed": str(e)[:300]}
    return found


def is_record(plain: dict[str, Any]) -> bool:
    """Tell whether a line is one of ours."""
    return plain.keys() >= {"network", "precision", "cpu", "sha256", "count"}


def table(records: Sequence[dict[str, Any]], cpus: Sequence[str]) -> str:
    """Return the Markdown table, one line a pair and precision."""
    found = {(r["network"], r["precision"]): r for r in records}
    lines = [f"| ours, theirs | {' | '.join(cpus)} | the paper, float |", f"|---|{'---|' * len(cpus)}---|"]
    for ours, theirs, said in PAIRS:
        for mine, other in (("fp32", "fp32"), ("int8", "int8"), ("int8", "fp32")):
            a, b = found.get((ours, mine)), found.get((theirs, other))
            if a is None or b is None:
                continue  # of a precision that was not asked for
            cells = [_ratio(a, b, cpu) for cpu in cpus]
            names = f"{ours} {mine}, {theirs} {other}"
            lines.append(f"| {names} | {' | '.join(cells)} | {said if mine == other == 'fp32' else ''} |")
    failed = [f"{r['network']} {r['precision']}: {r['failed']}" for r in records if "failed" in r]
    what = (
        f"{report.WHAT_IT_IS} Millions, ours and theirs, and theirs over ours. LiteRT {runner_build.litert_version()}."
    )
    return "\n".join([*lines, "", what, *failed])


def _ratio(ours: dict[str, Any], theirs: dict[str, Any], cpu: str) -> str:
    if "failed" in ours or "failed" in theirs:
        return "no file"
    a, b = ours["instructions"][cpu], theirs["instructions"][cpu]
    return f"{a / 1e6:.1f}, {b / 1e6:.1f}: **{b / a:.2f}x**"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 when a file could not be made or counted, 2 for misuse."""
    arguments = build_parser().parse_args(argv)
    networks = [network for ours, theirs, _ in PAIRS for network in (ours, theirs)]
    records = [count(network, p, arguments) for p in arguments.precisions for network in networks]
    text = table(records, arguments.cpus)
    try:
        if arguments.output:
            put_into(arguments.output, text, (BEGIN, END))
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(records, indent=1) if arguments.json else text)
    return 1 if any("failed" in r for r in records) else 0


if __name__ == "__main__":
    raise SystemExit(main())
