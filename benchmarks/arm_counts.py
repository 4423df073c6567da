"""Count the instructions of one inference on emulated ARM cores: every core, format and precision, by operator.

    python benchmarks/arm_counts.py [--models levit_128s ...] [--artifacts DIR] [--before FILE] [--results FILE]
                                    [--output docs/arm.md] [--json]

Float, float16 and int8 files of each model, .tflite and .pte; missing ones are converted. The file of float16 is the
float one, computed in float16, on cores that can. --results keeps the counts as JSON lines; what is there is not
counted again. --before compares with such a file. --output puts the tables into a page, in the place of the old ones.
Two inferences are counted; exits with 1 when they differ by more than 0.1%. Int8 files are also counted on 2 and 4
threads of cortex-a76, all together with what they execute while they wait, which does not repeat.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_vit.devices import results as records_of
from edge_vit.emulation import report
from edge_vit.emulation.cores import CPUS, core

MODELS = ("levit_128s", "efficientvit_m0", "fastervit_edge_0")
FORMATS = ("tflite", "pte")
PRECISIONS = ("fp32", "fp16", "int8")
TARGETS = {"tflite": "tflite", "pte": "executorch"}
ORDER = ("cortex-a53", "cortex-a72", "cortex-a76", "armv8.6-i8mm")
MATRIX = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL", "TRANSPOSE_CONV")
KINDS = (*MATRIX[:4], "SOFTMAX", "ADD", "TRANSPOSE", "QUANTIZE", "DEQUANTIZE")
THREADS, SHARED = (1, 2, 4), "cortex-a76"
BEGIN, END = "<!-- arm_counts: begin -->", "<!-- arm_counts: end -->"
TOLERANCE = 1e-3


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=list(ORDER))
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep the records here, one a line")
    parser.add_argument("--known", action="store_true", help="count nothing: tables of what --results holds")
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier --results to compare with")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a page to put the tables into")
    parser.add_argument("--json", action="store_true")
    return parser


def make_artefact(folder: Path, model: str, suffix: str, precision: str) -> Path:
    """Return a model's file, converted now unless it is there.

    Raises:
        ValueError: If the conversion fails.
    """
    path = folder / f"{model}_{precision}.{suffix}"
    if not path.is_file():
        words = [model, "--target", TARGETS[suffix], *(["--int8"] if precision == "int8" else [])]
        command = [sys.executable, "-m", "edge_vit.convert", *words, "--output-dir", str(folder)]
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise ValueError(f"{' '.join(command[1:])} failed")
    return path


def measure(path: Path, cpu: str, in_half: bool, threads: int) -> dict:
    """Count some inferences, on one thread also by operator; the record says how far they differ."""
    (record,) = report.measure(
        [path],
        [cpu],
        with_operators=threads == 1,
        runs=2 if threads == 1 else 5,
        threads=threads,
        in_half=in_half,
        cache_dir=None,
        progress=lambda message: print(message, file=sys.stderr),
    )
    counts = record["instructions_per_run"]
    record["repeats_within"] = max(counts) / min(counts) - 1
    return record


def wanted(arguments: argparse.Namespace) -> Iterator[dict]:
    """Say what is to be counted: network, format, precision, core, threads."""
    for model, suffix, precision in itertools.product(arguments.models, arguments.formats, arguments.precisions):
        if (suffix, precision) == ("pte", "fp16"):
            continue  # --target executorch makes no such file
        key = {"network": model, "format": suffix, "precision": precision}
        for cpu in arguments.cpus:
            if core(cpu).has_half or precision != "fp16":
                yield key | {"cpu": cpu, "threads": 1}
        if precision == "int8" and SHARED in arguments.cpus:
            yield from (key | {"cpu": SHARED, "threads": threads} for threads in THREADS[1:])


def measure_all(arguments: argparse.Namespace) -> list[dict]:
    """Count what --results does not hold yet; each record is kept as soon as it is there."""
    known = records_of.load_lines(arguments.results, report.is_record) if arguments.results else []
    found = []
    for key in wanted(arguments):
        record = next((r for r in known if key.items() <= r.items()), None)
        if record is None and arguments.known:
            continue
        if record is None:
            in_half = key["precision"] == "fp16"
            stored = "fp32" if in_half else key["precision"]
            path = make_artefact(arguments.artifacts, key["network"], key["format"], stored)
            record = measure(path, key["cpu"], in_half, key["threads"]) | key
            if arguments.results:
                records_of.append_lines(arguments.results, [record])
        found.append(record)
    return found


def shares(record: dict) -> dict[str, int]:
    """Return the instructions of each of KINDS, and of all others as "others"."""
    found = dict.fromkeys((*KINDS, "others"), 0)
    for entry in record["operators"]:
        found[entry["kind"] if entry["kind"] in KINDS else "others"] += entry["instructions"]
    found["others"] += record["between_operators"]
    return found


def overview(records: Sequence[dict], before: Sequence[dict]) -> str:
    """Return the Markdown table of whole counts: one line a model, format and precision, one column a core."""
    cpus = [c for c in ORDER if any(r["cpu"] == c for r in records)]
    lines = [f"| model | file | precision | {' | '.join(cpus)} |", f"|---|---|---|{'---:|' * len(cpus)}"]
    for r in records:
        row = (r["network"], r["format"], r["precision"])
        if r is not next(o for o in records if (o["network"], o["format"], o["precision"]) == row):
            continue
        cells = [_whole(records, before, row, cpu) for cpu in cpus]
        lines.append(f"| {row[0]} | .{row[1]} | {row[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _whole(records: Sequence[dict], before: Sequence[dict], row: tuple[str, str, str], cpu: str) -> str:
    now, then = (
        next((r for r in rs if (r["network"], r["format"], r["precision"], r["cpu"]) == (*row, cpu)), None)
        for rs in (records, before)
    )
    if now is None:
        return "-"
    was = f"{_millions(then['instructions'])} → " if then else ""
    return f"{was}{_millions(now['instructions'])}"


def by_operator(records: Sequence[dict], cpu: str) -> str:
    """Return the Markdown table of one core: what each kind of operator costs, and what is no matrix work."""
    rows = [(r, shares(r)) for r in records if r["cpu"] == cpu]
    kinds = [k for k in (*KINDS, "others") if any(found[k] for _, found in rows)]
    lines = [
        f"| {cpu} | whole | {' | '.join(kinds)} | no matrix work |",
        f"|---|---:|{'---:|' * len(kinds)}---:|",
    ]
    for r, found in rows:
        rest = r["instructions"] - sum(found[k] for k in MATRIX if k in found)
        name = f"{r['network']} .{r['format']} {r['precision']}"
        cells = " | ".join(_millions(found[k]) for k in kinds)
        lines.append(f"| {name} | {_millions(r['instructions'])} | {cells} | {rest / r['instructions']:.1%} |")
    return "\n".join(lines)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}"


def by_threads(records: Sequence[dict]) -> str:
    """Return the Markdown table of what several threads execute together, waiting included."""
    lines = [
        f"| {SHARED}, int8 | 1 thread | {' | '.join(f'{t} threads' for t in THREADS[1:])} |",
        f"|---|{'---:|' * len(THREADS)}",
    ]
    rows = [r for r in records if r["precision"] == "int8" and r["cpu"] == SHARED]
    for name in dict.fromkeys((r["network"], r["format"]) for r in rows):
        own = {r["threads"]: r for r in rows if (r["network"], r["format"]) == name}
        cells = [_spread(own[t]["instructions_per_run"]) if t in own else "-" for t in THREADS]
        lines.append(f"| {name[0]} .{name[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(counts: Sequence[int]) -> str:
    least, most = _millions(min(counts)), _millions(max(counts))
    return least if least == most else f"{least} to {most}"


def table(records: Sequence[dict], before: Sequence[dict] = ()) -> str:
    """Return everything as Markdown."""
    alone = [r for r in records if r["threads"] == 1]
    runtimes = ", ".join(dict.fromkeys(report.runtime(r) for r in records))
    worst = max(r["repeats_within"] for r in alone)
    what = f"{report.WHAT_IT_IS} {runtimes}, qemu {records[0]['qemu_version']}. Millions, one thread."
    what += f" Two inferences of a run differ by {worst:.0e} of their count at most."
    cpus = [c for c in ORDER if any(r["cpu"] == c for r in records)]
    parts = [overview(alone, before), what, *(by_operator(alone, cpu) for cpu in cpus)]
    return "\n\n".join([*parts, *([by_threads(records)] if len(alone) < len(records) else [])])


def put_into(page: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put tables between two marks of a page.

    Raises:
        ValueError: If the page has no such marks.
    """
    old, (begin, end) = page.read_text(encoding="utf-8"), marks
    if old.count(begin) != 1 or old.count(end) != 1:
        raise ValueError(f"{page}: the tables go between one line {begin} and one line {end}")
    head, rest = old.split(begin)
    records_of.write_whole(page, f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 when a count does not repeat, 2 for misuse."""
    arguments = build_parser().parse_args(argv)
    try:
        before = records_of.load_lines(arguments.before, report.is_record) if arguments.before else []
        records = measure_all(arguments)
        if not records:
            raise ValueError(f"{arguments.results} holds none of what was asked for; leave --known out")
        text = table(records, before)
        if arguments.output:
            put_into(arguments.output, text)
    except (ValueError, ImportError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(records, indent=1) if arguments.json else text)
    return 0 if all(r["repeats_within"] <= TOLERANCE for r in records if r["threads"] == 1) else 1


if __name__ == "__main__":
    raise SystemExit(main())
