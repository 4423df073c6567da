"""ExecuTorch: how long lowering takes, how often the delegate is called, and how much faster int8 is than float.

    python benchmarks/executorch_int8.py [--models levit_128s] [--check] [--json]

Both .pte files of a model are written by edge_vit.convert, each in a process of its own; lowering is timed there. Then
they take turns in one run, one thread; processor time counts, which other programs on the machine disturb less. With
--check the exit code is 1 when a promise is missed: at most 2 delegate calls, int8 at least 2.2 times faster, lowering
below 60 s on a machine that does nothing else.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from turns import children_seconds, time_in_turns

from converters.manifest import load_for
from edge_vit.devices.cpu import host_cpu

MAX_CALLS, MIN_SPEEDUP, MAX_LOWERING_S = 2, 2.2, 60.0


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["levit_128s"])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="where the files go")
    parser.add_argument("--keep", action="store_true", help="take files that are there; lowering is not timed then")
    parser.add_argument("--rounds", type=int, default=200, help="turns that each file takes (200)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is missed")
    parser.add_argument("--json", action="store_true")
    return parser


def make(model: str, precision: str, args: argparse.Namespace) -> tuple[Path, float | None, float | None]:
    """Write one file.

    Returns:
        The file, the seconds from "lowering" to "verifying", and the whole command's processor time; None where it was
        there already.
    """
    path = args.artifacts / f"{model}_{precision}.pte"
    if args.keep and path.exists():
        return path, None, None
    words = [model, "--target", "executorch", "--output-dir", str(args.artifacts)]
    words += ["--int8"] if precision == "int8" else []
    command = [sys.executable, "-m", "edge_vit.convert", *words]
    marks: dict[str, float] = {}
    processor = children_seconds()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.match(r"(lowering|verifying|error)", line):
                marks[found[1]] = time.perf_counter()
                print(line, end="", file=sys.stderr)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed")
    return path, marks["verifying"] - marks["lowering"], children_seconds() - processor


def measure(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return every figure of one model."""
    made = {precision: make(model, precision, args) for precision in ("fp32", "int8")}
    samples = time_in_turns({precision: path for precision, (path, *_) in made.items()}, args.rounds, time.process_time)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    operators = {name: load_for(path).operators for name, (path, *_) in made.items()}
    return {
        "model": model,
        "lowering_s": {name: seconds for name, (_, seconds, _) in made.items()},
        "command_processor_s": {name: seconds for name, (*_, seconds) in made.items()},
        "delegate_calls": {name: found.delegate_calls for name, found in operators.items()},
        "outside": {name: found.outside for name, found in operators.items()},
        "median_ms": medians,
        "speedup": medians["fp32"] / medians["int8"],
        "rounds": args.rounds,
        "machine": host_cpu(),
    }


def missed(r: dict[str, Any]) -> list[str]:
    """Return a line for every promise that is not kept."""
    lines = []
    if max(r["delegate_calls"].values()) > MAX_CALLS:
        lines.append(f"{r['model']}: {r['delegate_calls']} delegate calls, at most {MAX_CALLS}")
    if r["speedup"] < MIN_SPEEDUP:
        lines.append(f"{r['model']}: int8 {r['speedup']:.2f}x faster, at least {MIN_SPEEDUP}")
    slow = [seconds for seconds in r["lowering_s"].values() if seconds is not None and seconds > MAX_LOWERING_S]
    return lines + [f"{r['model']}: lowering took {seconds:.1f} s, below {MAX_LOWERING_S:.0f} s" for seconds in slow]


def line(r: dict[str, Any]) -> str:
    """Return one model's figures for people."""
    lowering, processor = (
        " / ".join("-" if s is None else f"{s:.1f}" for s in r[name].values())
        for name in ("lowering_s", "command_processor_s")
    )
    calls = " / ".join(map(str, r["delegate_calls"].values()))
    ms = " / ".join(f"{value:.2f}" for value in r["median_ms"].values())
    took = f"lowering {lowering} s (whole command {processor} s of processor time)"
    return f"{r['model']}: {took}, {calls} delegate calls, {ms} ms, {r['speedup']:.2f}x (fp32 / int8) on {r['machine']}"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    results = [measure(model, args) for model in args.models]
    print(json.dumps(results, indent=2) if args.json else "\n".join(map(line, results)))
    lines = [text for r in results for text in missed(r)] if args.check else []
    print("\n".join(lines), file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
