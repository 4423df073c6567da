"""Measure the README's results in one run, keep them in results.json, and write the tables from it.

    python benchmarks/results.py --data DIR/val --calib DIR/train    everything: the three parts below
    python benchmarks/results.py ... --parts files                   accuracy, sizes, instruction counts
    python benchmarks/results.py ... --parts time                    milliseconds on this machine, which must be quiet
    python benchmarks/results.py ... --parts ranges stock            without training; other tools' files
    python benchmarks/results.py --write                             the tables of README and docs, from results.json

One number has one source: what stands between `<!-- results: NAME -->` and `<!-- end -->` in a document comes from
results.json, and tests/test_results.py holds the two equal. Files in --artifacts are taken as they are. Without --calib
the last two parts are left as they are.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results.json")
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "quantization.md")
MODELS = ("levit_128s", "efficientvit_m0", "fastervit_edge_0")
CPUS = ("cortex-a76", "cortex-a53")
PARTS = ("files", "time", "ranges", "stock")
# The int8 files whose accuracy is measured, by the target that makes them.
FORMATS = {"tflite": ".tflite", "executorch": ".pte", "coreml": ".mlpackage", "onnx": ".onnx"}
TURNS = 200
_METHODS = {
    "min_max": "lowest and highest value", "mse": "least squared error", "corrected": "biases corrected (default)",
    "best": "`--calib-method best`",
    "qat": "QAT",
}  # fmt: skip
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="pictures by class to measure accuracy on")
    parser.add_argument(
        "--calib", type=Path, metavar="DIR", help="pictures to choose ranges from, for the second table"
    )
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), metavar="DIR")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="leave the others as they are")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--write", action="store_true", help="write the documents from results.json")
    arguments = parser.parse_args()
    if arguments.data is None and not arguments.write:
        parser.error("give --data DIR to measure, or --write")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {"models": {}, "ranges": [], "stock": []} | results
    if arguments.data is not None:
        for name in arguments.models:
            model = results["models"].setdefault(name, {})
            if "files" in arguments.parts:
                model |= measure(name, arguments.artifacts, arguments.data)
            if "time" in arguments.parts:
                model |= measure_time(make(name, arguments.artifacts, "tflite"))
            save(results)
        for part, measured in (("ranges", measure_ranges), ("stock", measure_stock)):
            if arguments.calib is not None and part in arguments.parts:
                results[part] = measured(arguments)
                save(results)
    if arguments.write:
        for document in DOCUMENTS:
            document.write_text(filled(document.read_text(encoding="utf-8"), results), encoding="utf-8")
    return 0


def save(results: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def make(name: str, artifacts: Path, target: str) -> dict[str, Path]:
    """Return a model's int8 file in a format, and of TFLite the float one; made unless they are there."""
    files = {}
    for precision in ("fp32", "int8") if target == "tflite" else ("int8",):
        files[precision] = artifacts / f"{name}_{precision}{FORMATS[target]}"
        if not files[precision].exists():
            words = [name, "--target", target, "--output-dir", str(artifacts)]
            words += ["--int8"] if precision == "int8" else []
            # A process of its own gives its memory back: the tools keep hold of a lot.
            subprocess.run([sys.executable, "-m", "edge_vit.convert", *words], check=True, stdout=subprocess.DEVNULL)
    return files


def measure(name: str, artifacts: Path, data: Path) -> dict[str, Any]:
    """Return accuracy of every format, and sizes and instruction counts of a model's float and int8 .tflite."""
    from edge_vit import api
    from edge_vit.emulation.report import measure as count
    from edge_vit.evaluation.paired import proportion_interval

    formats = {}
    for target, suffix in FORMATS.items():
        config = api.AccuracyConfig(artefact=make(name, artifacts, target)["int8"], data=data)
        formats[suffix] = api.evaluate(config).overall
    files, found = make(name, artifacts, "tflite"), formats[".tflite"]
    num = found.num_images

    def interval(percent: float) -> list[float]:
        return list(proportion_interval(round(percent * num / 100), num))

    counts = count(list(files.values()), CPUS, with_operators=False, runs=2, cache_dir=None, progress=_say)
    by_core = {cpu: {} for cpu in CPUS}
    for record in counts:
        precision = "int8" if record["model"] == files["int8"].name else "fp32"
        by_core[record["cpu"]][precision] = record["instructions"]
    return {
        "num_images": num,
        "top1": {"fp32": found.float_top1, "int8": found.artefact_top1},
        "top1_of_formats": {suffix: one.artefact_top1 for suffix, one in formats.items()},
        "top1_interval": {
            "fp32": interval(found.float_top1),
            "int8": interval(found.artefact_top1),
        },
        "drop_points": found.drop_points,
        "drop_interval": list(found.interval_points),
        "agreement": found.agreement,
        "sqnr_db": found.sqnr_db,
        "num_bytes": {precision: file.stat().st_size for precision, file in files.items()},
        "instructions": by_core,
        "runtime": counts[0]["runtime"],
        "qemu_version": counts[0]["qemu_version"],
    }


def measure_time(files: dict[str, Path]) -> dict[str, Any]:
    """Return milliseconds of a float and an int8 file that take turns on this machine, one thread."""
    from turns import time_in_turns

    from edge_vit.devices.cpu import host_cpu

    medians = {precision: statistics.median(ms) for precision, ms in time_in_turns(files, TURNS).items()}
    return {"median_ms": medians, "machine": host_cpu()}


def measure_ranges(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what benchmarks/calibration_methods.py measures; rows that it has measured already are taken."""
    return _measured("calibration_methods.py", arguments)


def measure_stock(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what benchmarks/stock_tools.py measures; rows that it has measured already are taken."""
    return _measured("stock_tools.py", arguments)


def _measured(script: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    kept = arguments.artifacts / Path(script).with_suffix(".json")
    words = ["--calib", arguments.calib, "--data", arguments.data, "--rows", kept, "--models", *arguments.models]
    words += ["--artifacts", arguments.artifacts] if script == "stock_tools.py" else []
    subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *map(str, words)], check=True)
    found: list[dict[str, Any]] = json.loads(kept.read_text())
    return found


def filled(text: str, results: dict[str, Any]) -> str:
    """Return a document with every table written anew."""
    return _BLOCK.sub(lambda found: found[1] + TABLES[found[2]](results) + found[4], text)


def table(results: dict[str, Any]) -> str:
    """Return the table of the embedded models' files."""
    models = results["models"]
    rows: list[tuple[str, Callable[[dict[str, Any]], Sequence[str]]]] = [
        ("top-1, .tflite", lambda m: (f"{m['top1']['fp32']:.2f}%", f"{m['top1']['int8']:.2f}%")),
        ("its 95% interval", lambda m: (_span(m["top1_interval"]["fp32"]), _span(m["top1_interval"]["int8"]))),
        ("drop, 95% interval", lambda m: ("", f"{m['drop_points']:.2f}{_perhaps(m['drop_interval'], _span)}")),
        ("logits, same top-1", lambda m: ("", f"{m['sqnr_db']:.1f} dB{_perhaps(m['agreement'], _percent)}")),
        *((f"top-1, {suffix}", _top1(suffix)) for suffix in FORMATS.values() if suffix != ".tflite"),
        (".tflite, MB", lambda m: tuple(f"{m['num_bytes'][p] / 1e6:.2f}" for p in ("fp32", "int8"))),
        *((f"M instructions, {cpu} (emulated)", _counts(cpu)) for cpu in CPUS),
        ("ms, LiteRT, one thread", _milliseconds),
    ]
    lines = [
        "| |" + "".join(f" {name} float32 | int8 (QAT) |" for name in models),
        "|---|" + "---|---|" * len(models),
    ]
    lines += [f"| {said} |" + "".join(f" {a} | {b} |" for a, b in map(row, models.values())) for said, row in rows]
    lines += ["", f"ms: {', '.join(dict.fromkeys(m['machine'] for m in models.values()))}; float and int8 in turns."]
    return "\n".join(lines) + "\n"


def ranges(results: dict[str, Any]) -> str:
    """Return the table of ways to quantize without training, beside training."""
    lines = [
        "| model | ranges by | top-1, float | drop, 95% interval | same top-1 | logits |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["ranges"]:
        low, high = row["interval_points"]
        lines.append(
            f"| {row['model']} | {_METHODS[row['ranges']]} | {row['artefact_top1']:.2f}%, {row['float_top1']:.2f}% | "
            f"{row['drop_points']:.2f}, {low:.2f} to {high:.2f} | {100 * row['agreement']:.2f}% | "
            f"{row['sqnr_db']:.1f} dB |"
        )
    return "\n".join(lines) + "\n"


def stock(results: dict[str, Any]) -> str:
    """Return the table of other tools' files."""
    from stock_tools import table as written

    return written(results["stock"])


TABLES = {"files": table, "ranges": ranges, "stock": stock}


def _top1(suffix: str) -> Callable[[dict[str, Any]], Sequence[str]]:
    return lambda model: ("", f"{model['top1_of_formats'][suffix]:.2f}%")


def _milliseconds(model: dict[str, Any]) -> Sequence[str]:
    ms = model["median_ms"]
    return f"{ms['fp32']:.2f}", f"{ms['int8']:.2f}: {ms['fp32'] / ms['int8']:.2f}x faster"


def _counts(cpu: str) -> Callable[[dict[str, Any]], Sequence[str]]:
    def cells(model: dict[str, Any]) -> Sequence[str]:
        counts = model["instructions"][cpu]
        ratio = counts["int8"] / counts["fp32"]
        return f"{counts['fp32'] / 1e6:.1f}", f"{counts['int8'] / 1e6:.1f}: {ratio:.3f}x"

    return cells


def _span(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _perhaps(value: Any, written: Callable[[Any], str]) -> str:
    """Return what is to be added where it was measured."""
    return "" if value is None else f", {written(value)}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
