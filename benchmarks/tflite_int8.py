"""Is int8 worth it? The int8 file against the float32 file of the same model, on ARM and on this machine.

    python benchmarks/tflite_int8.py [--models levit_128s ...] [--max-ratio 0.36] [--min-speedup 2.0] [--json]

(a) Instructions of one inference on aarch64, counted under emulation: cortex-a76 (dot products) and cortex-a53 (none).
(b) Milliseconds in LiteRT on this machine, one thread, the two files taking turns in one run; medians and their ratio.
(a) decides, (b) is reported beside it. Exits with 1 when a limit that was given is missed.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from converters.run import open_artefact
from edge_vit import convert
from edge_vit.bench import emulation

CPUS = ("cortex-a76", "cortex-a53")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["levit_128s"])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--weights", default="auto", help="as in edge_vit.convert")
    parser.add_argument("--calib", type=Path, help="as in edge_vit.convert")
    parser.add_argument("--rounds", type=int, default=200, help="turns that each file takes (200)")
    parser.add_argument("--max-ratio", type=float, help="largest int8 / float32 of instructions on cortex-a76")
    parser.add_argument("--min-speedup", type=float, help="smallest float32 / int8 of milliseconds here")
    parser.add_argument("--json", action="store_true")
    return parser


def make_artefacts(model: str, args: argparse.Namespace) -> dict[str, Path]:
    """Return the float32 and the int8 file, converted now unless they are there."""
    paths = {}
    for precision in ("fp32", "int8"):
        paths[precision] = args.artifacts / f"{model}_{precision}.tflite"
        if not paths[precision].exists():
            calib = args.calib if precision == "int8" else None
            convert.run(
                convert.ConvertConfig(
                    model=model, target="tflite", precision=precision, weights=args.weights, calib=calib,
                    output_dir=args.artifacts, command=f"benchmarks/tflite_int8.py --models {model}",
                )
            )  # fmt: skip
    return paths


def time_in_turns(paths: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of single inferences, one thread; which file goes first is drawn anew every round."""
    from calibration.preprocess import Preprocess
    from edge_vit.verify import drawn_pictures

    artefacts = {name: open_artefact(path, threads=1) for name, path in paths.items()}
    any_info = next(iter(artefacts.values())).manifest.input
    pixels = drawn_pictures(Preprocess(**any_info.preprocess_fields()), 1).pixels
    samples: dict[str, list[float]] = {name: [] for name in artefacts}
    order = random.Random(0)
    for turn in range(rounds + 20):
        names = list(artefacts)
        order.shuffle(names)
        for name in names:
            started = time.perf_counter()
            artefacts[name].run(pixels)
            if turn >= 20:  # the first turns warm up
                samples[name].append(1e3 * (time.perf_counter() - started))
    return samples


def measure(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return every figure of one model."""
    paths = make_artefacts(model, args)
    counts = {cpu: {name: emulation.count_instructions(path, cpu) for name, path in paths.items()} for cpu in CPUS}
    samples = time_in_turns(paths, args.rounds)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "model": model,
        "size_bytes": {name: path.stat().st_size for name, path in paths.items()},
        "instructions": counts,
        "instruction_ratio": {cpu: count["int8"] / count["fp32"] for cpu, count in counts.items()},
        "median_ms": medians,
        "speedup": medians["fp32"] / medians["int8"],
        "rounds": args.rounds,
        "machine": f"{platform.machine()} {platform.processor() or ''}".strip(),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| model | MB fp32 / int8 | a76 M instructions fp32 / int8 | ratio | a53 M instructions fp32 / int8 | ratio "
        "| ms here fp32 / int8 | speed-up |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        size, ms = r["size_bytes"], r["median_ms"]
        cells = [r["model"], f"{size['fp32'] / 1e6:.2f} / {size['int8'] / 1e6:.2f}"]
        for cpu in CPUS:
            count = r["instructions"][cpu]
            cells.append(f"{count['fp32'] / 1e6:.1f} / {count['int8'] / 1e6:.1f}")
            cells.append(f"{r['instruction_ratio'][cpu]:.3f}")
        cells += [f"{ms['fp32']:.2f} / {ms['int8']:.2f}", f"{r['speedup']:.2f}x"]
        lines.append("| " + " | ".join(cells) + " |")
    rounds = results[0]["rounds"]
    lines += ["", f"Instructions under emulation; ms: {results[0]['machine']}, one thread, medians of {rounds} turns."]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 1 when a limit is missed, 2 for misuse."""
    args = build_parser().parse_args(argv)
    try:
        results = [measure(model, args) for model in args.models]
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(results, indent=2) if args.json else table(results))
    missed = []
    for r in results:
        ratio = r["instruction_ratio"]["cortex-a76"]
        if args.max_ratio is not None and ratio > args.max_ratio:
            missed.append(f"{r['model']}: {ratio:.3f} of float's instructions, limit {args.max_ratio}")
        if args.min_speedup is not None and r["speedup"] < args.min_speedup:
            missed.append(f"{r['model']}: {r['speedup']:.2f}x faster, limit {args.min_speedup}x")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
