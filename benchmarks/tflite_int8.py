"""Is int8 worth it? The int8 file against the float32 file of the same model, on ARM and on this machine.

    python benchmarks/tflite_int8.py [--models levit_128s ...] [--max-ratio 0.36] [--min-speedup 2.0] [--json]
    python benchmarks/tflite_int8.py --models efficientvit_m0 fastervit_edge_0 --calib DIR --check --results FILE

Variants without a checkpoint of their own get random weights, and int8 ranges from --calib.
(a) Instructions of one inference on aarch64, counted under emulation: cortex-a76 (dot products) and cortex-a53 (none).
(b) Milliseconds in LiteRT on this machine, one thread, the two files taking turns in one run; medians and their ratio.
(a) decides, (b) is reported beside it. Exits with 1 when a limit is missed: a given one, or with --check one of LIMITS.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from turns import time_in_turns

from converters.manifest import load, manifest_path
from edge_vit.devices.cpu import host_cpu
from edge_vit.emulation import tflite as emulation
from edge_vit.models.sources import embedded_path

CPUS = ("cortex-a76", "cortex-a53")
# Of cortex-a76's instructions, int8 against float32; edge variants also have few operators that change precision.
LIMITS = {"efficientvit_m0": 0.45, "efficientvit_m2": 0.45, "fastervit_0": 0.40}
EDGE_LIMIT, EDGE_MAX_BOUNDARIES = 0.30, 4


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["levit_128s"])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--calib", type=Path, help="as in edge_vit.convert")
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=list(CPUS), help="emulated cores (both)")
    parser.add_argument("--rounds", type=int, default=200, help="turns that each file takes (200)")
    parser.add_argument("--max-ratio", type=float, help="largest int8 / float32 of instructions on cortex-a76")
    parser.add_argument("--min-speedup", type=float, help="smallest float32 / int8 of milliseconds here")
    parser.add_argument("--check", action="store_true", help="hold the ratios that this project promises")
    parser.add_argument("--results", type=Path, help="JSON of earlier results; those models are not measured again")
    parser.add_argument("--retime", action="store_true", help="measure those models' milliseconds again, nothing else")
    parser.add_argument("--json", action="store_true")
    return parser


def make_artefacts(model: str, args: argparse.Namespace) -> dict[str, Path]:
    """Return the float32 and the int8 file, converted now unless they are there."""
    paths = {}
    for precision in ("fp32", "int8"):
        paths[precision] = args.artifacts / f"{model}_{precision}.tflite"
        if not paths[precision].exists():
            is_random = not embedded_path(model, is_quantized=precision == "int8").is_file()
            words = ["--weights", "random"] if is_random else []
            if precision == "int8":
                words += ["--int8", *(["--calib", str(args.calib)] if is_random and args.calib else [])]
            # A process of its own gives its memory back: the tools keep hold of a lot.
            command = [sys.executable, "-m", "edge_vit.convert", model, "--target", "tflite", *words]
            done = subprocess.run([*command, "--output-dir", str(args.artifacts)], stdout=subprocess.DEVNULL)
            if done.returncode:
                raise ValueError(f"{' '.join(command[1:])} failed")
    return paths


def describe(path: Path) -> dict[str, Any]:
    """Return what the manifest says of a file: weights, operators, how close it is to the float model."""
    manifest = load(manifest_path(path))
    assert manifest.verification is not None
    operators = manifest.operators
    return {
        "weights": manifest.weights.source,
        "sqnr_db": manifest.verification.sqnr_db,
        "top1_agreement": manifest.verification.top1_agreement,
        "verified_on": manifest.verification.data,
        "quantize": operators.quantize,
        "dequantize": operators.dequantize,
        "float_islands": len(operators.float_islands),
        "slow_path": manifest.total_nodes - manifest.delegated_nodes,
    }


def measure(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return every figure of one model."""
    started = time.perf_counter()
    paths = make_artefacts(model, args)
    converting_s = time.perf_counter() - started
    # Counts repeat to the instruction (benchmarks/arm_counts.py shows it): one inference after the first two will do.
    counts = {
        cpu: {name: emulation.count_instructions(path, cpu, runs=1) for name, path in paths.items()}
        for cpu in args.cpus
    }
    return {
        "model": model,
        "converting_s": round(converting_s, 1),
        "int8": describe(paths["int8"]),
        "size_bytes": {name: path.stat().st_size for name, path in paths.items()},
        "instructions": counts,
        "instruction_ratio": {cpu: count["int8"] / count["fp32"] for cpu, count in counts.items()},
        **measure_time(paths, args.rounds),
    }


def measure_time(paths: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Return what the two files take on this machine, and how many times less int8 is."""
    samples = time_in_turns(paths, rounds)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "median_ms": medians,
        "speedup": medians["fp32"] / medians["int8"],
        "rounds": rounds,
        "machine": host_cpu(),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| model | weights | MB fp32 / int8 | dB | same top-1 | Q / DQ | float islands | slow path "
        "| a76 M instructions fp32 / int8 | ratio | a53 M instructions fp32 / int8 | ratio "
        "| ms here fp32 / int8 | speed-up | s to convert both |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        size, ms = r["size_bytes"], r["median_ms"]
        int8 = r["int8"]
        cells = [r["model"], "random" if int8["weights"] == "random" else "trained"]
        cells += [f"{size['fp32'] / 1e6:.2f} / {size['int8'] / 1e6:.2f}", f"{int8['sqnr_db']:.1f}"]
        cells += [f"{100 * int8['top1_agreement']:.0f}%", f"{int8['quantize']} / {int8['dequantize']}"]
        cells += [str(int8["float_islands"]), str(int8["slow_path"])]
        for cpu in CPUS:
            count = r["instructions"].get(cpu)
            cells.append(f"{count['fp32'] / 1e6:.1f} / {count['int8'] / 1e6:.1f}" if count else "-")
            cells.append(f"{r['instruction_ratio'][cpu]:.3f}" if count else "-")
        cells += [f"{ms['fp32']:.2f} / {ms['int8']:.2f}", f"{r['speedup']:.2f}x", f"{r['converting_s']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    rounds = results[0]["rounds"]
    machines = ", ".join(dict.fromkeys(r["machine"] for r in results))
    lines += ["", f"Instructions under emulation; ms: {machines}, one thread, medians of {rounds} turns."]
    return "\n".join(lines)


def missed_limits(r: dict[str, Any], args: argparse.Namespace) -> list[str]:
    """Return a line for every limit that a model misses."""
    model, missed = r["model"], []
    limit = args.max_ratio
    is_edge = "_edge_" in model
    if args.check:
        limit = EDGE_LIMIT if is_edge else LIMITS.get(model, limit)
    ratio = r["instruction_ratio"]["cortex-a76"]
    if limit is not None and ratio > limit:
        missed.append(f"{model}: {ratio:.3f} of float's instructions, limit {limit}")
    boundaries = r["int8"]["quantize"] + r["int8"]["dequantize"]
    if args.check and is_edge and boundaries > EDGE_MAX_BOUNDARIES:
        missed.append(f"{model}: {boundaries} QUANTIZE and DEQUANTIZE, limit {EDGE_MAX_BOUNDARIES}")
    if args.min_speedup is not None and r["speedup"] < args.min_speedup:
        missed.append(f"{model}: {r['speedup']:.2f}x faster, limit {args.min_speedup}x")
    return missed


def measure_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the models that --results does not hold yet; after each, the file is written anew."""
    known = json.loads(args.results.read_text()) if args.results and args.results.exists() else []
    results = {r["model"]: r for r in known}
    for model in args.models:
        if model not in results:
            results[model] = measure(model, args)
        elif args.retime:
            results[model] |= measure_time(make_artefacts(model, args), args.rounds)
        else:
            continue
        if args.results:
            temporary = args.results.with_suffix(".tmp")
            temporary.write_text(json.dumps([*results.values()], indent=1) + "\n")
            os.replace(temporary, args.results)
    return [results[model] for model in args.models]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 1 when a limit is missed, 2 for misuse."""
    args = build_parser().parse_args(argv)
    try:
        results = measure_all(args)
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(results, indent=2) if args.json else table(results))
    missed = [line for r in results for line in missed_limits(r, args)]
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
