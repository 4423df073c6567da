"""Time every command until its first word of --help, and until it refuses a path or a name that is wrong.

    python benchmarks/startup.py [--runs 5] [--limit 0.5] [--json]

Prints a Markdown table: the best of some runs, in seconds that pass and in seconds of the processor; on an idle core
the two are nearly equal. Exits with 1 when a command's --help takes more of the processor than the limit.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

# What each command must refuse: a path or a name that does not exist.
REFUSED = {
    "convert": "convert levit_128s --target tflite --weights nowhere.pt",
    "train": "train levit_128s --data nowhere",
    "accuracy": "accuracy nowhere.tflite --data nowhere",
    "bench_arm": "bench_arm nowhere.tflite",
    "classify": "classify nowhere.tflite nowhere.png",
    "report": "report nowhere.tflite",
    "models": "models levit_12",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the best counts (%(default)s)")
    parser.add_argument("--limit", type=float, default=0.5, help="seconds that --help may take (%(default)s)")
    parser.add_argument("--json", action="store_true")
    return parser


def start(words: Sequence[str]) -> dict[str, float]:
    """Run a command once; return seconds to its first word, seconds of the processor in all, and its exit code."""
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "edge_vit", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        first_word_s = time.perf_counter() - started
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "first_word_s": first_word_s,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "exit_code": process.returncode,
    }


def best(words: Sequence[str], runs: int) -> dict[str, float]:
    """Return the least of each over some runs."""
    found = [start(words) for _ in range(runs)]
    return {key: min(one[key] for one in found) for key in found[0]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    records = []
    for command, refused in REFUSED.items():
        measured = {"help": best([command, "--help"], arguments.runs), "refused": best(refused.split(), arguments.runs)}
        records.append({"command": command, "refused_words": refused, **measured})
    if arguments.json:
        print(json.dumps(records, indent=1))
    else:
        print("| command | --help: first word, s | processor, s | refused | first word, s | processor, s | exit code |")
        print("|---|---:|---:|---|---:|---:|---:|")
        for r in records:
            shown = [f"{r[k][part]:.2f}" for k in ("help", "refused") for part in ("first_word_s", "processor_s")]
            row = [r["command"], *shown[:2], f"`{r['refused_words']}`", *shown[2:], str(r["refused"]["exit_code"])]
            print(f"| {' | '.join(row)} |")
    return 0 if all(r["help"]["processor_s"] <= arguments.limit for r in records) else 1


if __name__ == "__main__":
    raise SystemExit(main())
