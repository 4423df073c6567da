"""Two backends that write TFLite, side by side: litert-torch, the default, and onnx2tf.

    python benchmarks/tflite_backends.py --data ../imagenette/val [--models levit_128s] [--weights random --calib DIR]

For every model, float and int8: seconds to convert (wall clock and processor time, process start, weights and checks
included), size, milliseconds in LiteRT on this machine (one thread, the two files taking turns in one run, medians and
their ratio), instructions of one inference on an emulated cortex-a76, top-1 on labelled pictures, and on how many
pictures (200 at most) the two files agree.
Files that are there are not made again; their seconds then come from the run that made them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from turns import children_seconds, time_in_turns

from converters.artefact import open_artefact
from edge_vit import api
from edge_vit.deployment.pictures import load_pictures
from edge_vit.devices.cpu import host_cpu
from edge_vit.emulation import tflite as emulation
from edge_vit.evaluation.comparison import AccuracyConfig

BACKENDS = ("litert-torch", "onnx2tf")
PRECISIONS = ("fp32", "int8")
CPU = "cortex-a76"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["levit_128s"])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="each backend has a folder in it")
    parser.add_argument("--weights", default="auto", help="as in edge_vit.convert")
    parser.add_argument("--calib", type=Path, help="as in edge_vit.convert")
    parser.add_argument("--data", type=Path, required=True, help="pictures, one sub-folder a class")
    parser.add_argument("--limit", type=int, default=1000, help="how many of them (1000)")
    parser.add_argument("--rounds", type=int, default=200, help="turns that each file takes (200)")
    parser.add_argument("--json", action="store_true")
    return parser


def make_artefact(model: str, precision: str, backend: str, args: argparse.Namespace) -> tuple[Path, list[float]]:
    """Return the file and the wall and processor seconds that its conversion took, in a process of its own."""
    folder = args.artifacts / backend
    path = folder / f"{model}_{precision}.tflite"
    seconds = path.with_suffix(".seconds")
    if not path.exists() or not seconds.exists():
        command = [sys.executable, "-m", "edge_vit.convert", model, "--target", "tflite", "--backend", backend]
        command += ["--weights", args.weights, "--output-dir", str(folder)]
        if precision == "int8":
            command += ["--int8", *(["--calib", str(args.calib)] if args.calib else [])]
        started, processor = time.perf_counter(), children_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.write_text(json.dumps([time.perf_counter() - started, children_seconds() - processor]))
    return path, json.loads(seconds.read_text())


def top1(path: Path, float_path: Path, args: argparse.Namespace) -> float | None:
    """Return top-1 in percent; None for weights that learnt nothing."""
    if open_artefact(path).manifest.weights.source == "random":
        return None
    config = AccuracyConfig(artefact=path, float_artefact=float_path, data=args.data, limit=args.limit, threads=1)
    return api.evaluate(config).overall.artefact_top1


def agreement(paths: list[Path], args: argparse.Namespace) -> float:
    """Return on how many pictures, in percent, two files name the same class."""
    from calibration.dataset import list_images
    from calibration.preprocess import Preprocess

    artefacts = [open_artefact(path) for path in paths]
    preprocess = Preprocess(**artefacts[0].manifest.input.preprocess_fields())
    pixels = load_pictures(list_images(args.data), preprocess, min(args.limit, 200)).pixels
    first, second = (artefact.run(pixels).argmax(1) for artefact in artefacts)
    return 100.0 * float(np.mean(first == second))


def measure(model: str, precision: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a record for each backend."""
    made = {backend: make_artefact(model, precision, backend, args) for backend in BACKENDS}
    paths = {backend: path for backend, (path, _) in made.items()}
    samples = time_in_turns(paths, args.rounds)
    float_path = args.artifacts / BACKENDS[0] / f"{model}_fp32.tflite"
    same = agreement(list(paths.values()), args)
    records = []
    for backend in BACKENDS:
        manifest = open_artefact(paths[backend]).manifest
        records.append(
            {
                "model": model, "precision": precision, "backend": backend, "convert_s": made[backend][1][0],
                "convert_processor_s": made[backend][1][1],
                "size_bytes": paths[backend].stat().st_size, "median_ms": statistics.median(samples[backend]),
                "instructions": emulation.count_instructions(paths[backend], CPU),
                "top1": top1(paths[backend], float_path, args), "agreement": same,
                "operators": manifest.total_nodes, "sqnr_db": manifest.verification.sqnr_db, "machine": host_cpu(),
            }
        )  # fmt: skip
    return records


def table(records: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| model | precision | backend | convert s | of processor | MB | operators | ms here | of default "
        f"| M instructions, {CPU} | of default | top-1 % | same class % |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for i, r in enumerate(records):
        base = records[i - i % len(BACKENDS)]
        cells = [r["model"], r["precision"], r["backend"], f"{r['convert_s']:.0f}", f"{r['convert_processor_s']:.0f}"]
        cells.append(f"{r['size_bytes'] / 1e6:.2f}")
        cells += [str(r["operators"]), f"{r['median_ms']:.2f}", f"{r['median_ms'] / base['median_ms']:.3f}"]
        cells += [f"{r['instructions'] / 1e6:.2f}", f"{r['instructions'] / base['instructions']:.3f}"]
        cells += ["-" if r["top1"] is None else f"{r['top1']:.2f}", f"{r['agreement']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"ms: {records[0]['machine']}, one thread."])


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 1 when a conversion fails, 2 for misuse."""
    args = build_parser().parse_args(argv)
    try:
        records = [r for model in args.models for p in PRECISIONS for r in measure(model, p, args)]
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as e:
        print(f"error: {' '.join(e.cmd)} failed", file=sys.stderr)
        return 1
    print(json.dumps(records, indent=2) if args.json else table(records))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
