"""ONNX: our int8 file against ONNX Runtime's own static quantization of the same float file, in one run.

    python benchmarks/onnx_int8.py --calib DIR/train --data DIR/val [--models levit_128s] [--limit 2000] [--check]

Our files are written by edge_vit.convert. The tool gets 128 pictures of --calib, balanced over classes, and the form
that its documents advise here: uint8 activations, int8 weights, a scale a channel, min-max ranges. Accuracy is paired:
every file sees the same pictures, and our file is also compared with the tool's. The three files take turns in ONNX
Runtime, one thread. With --check the exit code is 1 when our file is less accurate than the tool's or slower.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from turns import time_in_turns

from calibration.dataset import list_images
from calibration.preprocess import Preprocess
from converters.manifest import describe_file, load_for, save
from edge_vit import api
from edge_vit.deployment.pictures import load_pictures
from edge_vit.devices.cpu import host_cpu

NUM_CALIBRATION_PICTURES = 128


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["levit_128s"])
    parser.add_argument("--calib", type=Path, required=True, help="pictures that the tool chooses ranges from")
    parser.add_argument("--data", type=Path, required=True, help="pictures with classes, as in edge_vit.accuracy")
    parser.add_argument("--limit", type=int, default=2000, help="how many of them (2000)")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--rounds", type=int, default=200, help="turns that each file takes (200)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when the tool's file is better or faster")
    parser.add_argument("--json", action="store_true")
    return parser


def make(model: str, precision: str, folder: Path) -> Path:
    """Return our file, converted now unless it is there."""
    path = folder / f"{model}_{precision}.onnx"
    if not path.exists():
        words = [model, "--target", "onnx", "--output-dir", str(folder), *(["--int8"] if precision == "int8" else [])]
        subprocess.run([sys.executable, "-m", "edge_vit.convert", *words], check=True, stdout=subprocess.DEVNULL)
    return path


def quantize_with_tool(path: Path, calib: Path, *, is_wide: bool = False) -> Path:
    """Quantize a float file with ONNX Runtime's tool; its manifest is the float file's, of another file.

    Args:
        is_wide: Give activations 16 bits.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    manifest = load_for(path)
    pictures = load_pictures(
        list_images(calib), Preprocess(**manifest.input.preprocess_fields()), NUM_CALIBRATION_PICTURES
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._pictures: Iterator[np.ndarray] = iter(pictures.pixels)

        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(self._pictures, None)
            return None if picture is None else {manifest.input.name: picture[None]}

    prepared, quantized = (
        path.with_suffix(".prepared.onnx"),
        path.with_name(f"{path.stem}_quantized_by_tool{'_wide' if is_wide else ''}.onnx"),
    )
    quant_pre_process(str(path), str(prepared))
    quantize_static(
        str(prepared), str(quantized), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt16 if is_wide else QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    prepared.unlink()
    save(replace(manifest, file=describe_file(quantized)), quantized)
    return quantized


def measure(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return every figure of one model."""
    floats, ours = (make(model, precision, args.artifacts) for precision in ("fp32", "int8"))
    paths = {"float": floats, "ours": ours, "tool": quantize_with_tool(floats, args.calib)}

    def paired(artefact: Path, reference: Path) -> Any:
        config = api.AccuracyConfig(artefact=artefact, data=args.data, limit=args.limit, float_artefact=reference)
        return api.evaluate(config).overall

    to_float = {name: paired(paths[name], floats) for name in ("ours", "tool")}
    samples = time_in_turns(paths, args.rounds)
    return {
        "model": model,
        "num_images": to_float["ours"].num_images,
        "top1": {"float": to_float["ours"].float_top1} | {name: one.artefact_top1 for name, one in to_float.items()},
        "same_as_float": {name: 100 * one.agreement for name, one in to_float.items()},
        "sqnr_db": {name: one.sqnr_db for name, one in to_float.items()},
        "drop_points": {name: [one.drop_points, *one.interval_points] for name, one in to_float.items()},
        "ours_over_tool_points": _reversed(paired(ours, paths["tool"])),
        "size_bytes": {name: path.stat().st_size for name, path in paths.items()},
        "median_ms": {name: statistics.median(values) for name, values in samples.items()},
        "rounds": args.rounds,
        "machine": host_cpu(),
    }


def _reversed(paired: Any) -> list[float]:
    """Return by how many points of top-1 the file is better than its reference, with the interval."""
    low, high = paired.interval_points
    return [-paired.drop_points, -high, -low]


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| model | file | MB | top-1 % | points lost against float (95% interval) | same class as float | dB | ms |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for r in results:
        for name in ("float", "ours", "tool"):
            cells = [r["model"], name, f"{r['size_bytes'][name] / 1e6:.2f}", f"{r['top1'][name]:.2f}"]
            if name == "float":
                cells += ["", "", ""]
            else:
                cells += ["{:.2f} ({:.2f} to {:.2f})".format(*r["drop_points"][name])]
                cells += [f"{r['same_as_float'][name]:.2f}%", f"{r['sqnr_db'][name]:.1f}"]
            lines.append("| " + " | ".join([*cells, f"{r['median_ms'][name]:.2f}"]) + " |")
    lines.append("")
    for r in results:
        better = "{:+.2f} points of top-1 (95% interval {:+.2f} to {:+.2f})".format(*r["ours_over_tool_points"])
        speed = r["median_ms"]["tool"] / r["median_ms"]["ours"]
        lines.append(f"{r['model']}: ours against the tool's, {better}, {speed:.2f}x as fast")
    machines = ", ".join(dict.fromkeys(r["machine"] for r in results))
    pictures, rounds = results[0]["num_images"], results[0]["rounds"]
    lines.append(f"{pictures} pictures; ms: {machines}, one thread, medians of {rounds} turns.")
    return "\n".join(lines)


def missed(r: dict[str, Any]) -> list[str]:
    """Return a line for every way in which the tool's file is better."""
    lines = []
    if r["top1"]["ours"] < r["top1"]["tool"]:
        lines.append(f"{r['model']}: {r['top1']['ours']:.2f}%, the tool's {r['top1']['tool']:.2f}%")
    if r["median_ms"]["ours"] > r["median_ms"]["tool"]:
        lines.append(f"{r['model']}: {r['median_ms']['ours']:.2f} ms, the tool's {r['median_ms']['tool']:.2f} ms")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    results = [measure(model, args) for model in args.models]
    print(json.dumps(results, indent=2) if args.json else table(results))
    lines = [text for r in results for text in missed(r)] if args.check else []
    for text in lines:
        print(f"missed: {text}", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
