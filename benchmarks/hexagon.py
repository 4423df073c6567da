"""Our .onnx files in Qualcomm's simulator of its NPU (Hexagon), beside ONNX Runtime's own quantization of the float.

    python benchmarks/hexagon.py --calib DIR/train --data DIR/val [--models levit_128s ...] [--limit 200] [--check]

For each file: the pieces that the NPU runs, nodes there and on the CPU, and how the logits agree with those of the
float file on pictures, in the simulator and in ONNX Runtime on the CPU. Ours come from edge_vit.convert, int8 for npu
and int16; the tool's as in onnx_int8.py, with uint8 and with uint16 activations.

The simulator takes seconds a picture. Logits are kept beside the files as they come, and a run that was cut off goes
on with them. Each process answers --pictures-a-process of them: the simulator grows with every picture. With --check
the exit code is 1 when a file of ours is cut into several pieces or leaves more to the CPU than its boundary.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx_int8 import quantize_with_tool
from vela import EMBEDDED, convert

from calibration.dataset import BatchLoader, choose, list_images, match_classes, read_class_names
from calibration.preprocess import Preprocess
from converters.artefact import Artefact, open_artefact
from converters.manifest import load_for
from converters.onnx.hexagon import Placement, Simulator
from converters.sqnr import sqnr_db

# Kind of file -> precision and processor of ours, or the tool's activations.
KINDS = ("int8_npu", "int16", "tool_int8", "tool_int16")
BOUNDARY = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    pixels: np.ndarray
    labels: np.ndarray


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=EMBEDDED)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--calib", type=Path, required=True, help="pictures that int16 files and the tool choose by")
    parser.add_argument("--data", type=Path, required=True, help="pictures with classes, as in edge_vit.accuracy")
    parser.add_argument("--limit", type=int, default=200, help="how many of them (%(default)s)")
    parser.add_argument("--pictures-a-process", type=int, default=50, metavar="N", help="(%(default)s)")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a file of ours is cut")
    parser.add_argument("--json", action="store_true")
    return parser


def file_of(model: str, kind: str, args: argparse.Namespace) -> Path:
    """Return a file, made now unless it is there."""
    name = {"tool_int8": "fp32_quantized_by_tool", "tool_int16": "fp32_quantized_by_tool_wide"}.get(kind, kind)
    path: Path = args.artifacts / f"{model}_{name}.onnx"
    if path.exists():
        return path
    if kind.startswith("tool"):
        return quantize_with_tool(file_of(model, "fp32", args), args.calib, is_wide=kind == "tool_int16")
    flags = {"fp32": [], "int8_npu": ["--int8", "--processor", "npu"], "int16": ["--int16", "--calib", str(args.calib)]}
    convert([model, "--target", "onnx", "--output-dir", str(args.artifacts), *flags[kind]])
    return path


def load(path: Path, data: Path, limit: int) -> Pictures:
    """Return the pictures that `accuracy --limit` takes, as a file wants them."""
    manifest = load_for(path)
    images = list_images(data)
    images = images.relabel(match_classes(images.folders, manifest.classes, read_class_names(data)))
    batches = list(BatchLoader(choose(images, limit), Preprocess(**manifest.input.preprocess_fields())))
    return Pictures(
        pixels=np.concatenate([batch.pixels for batch in batches]),
        labels=np.concatenate([batch.labels for batch in batches]),
    )


def simulate(path: Path, pixels: np.ndarray, a_process: int) -> tuple[np.ndarray, Placement]:
    """Return the logits that the simulator gives, those that are kept first, and where operators ran.

    Raises:
        ValueError: If Qualcomm's compiler does not take the file, or its simulator ends at a picture twice.
    """
    manifest = load_for(path)
    kept = path.with_suffix(".hexagon.json")
    told: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    key = [manifest.file.sha256, hashlib.sha256(pixels.tobytes()).hexdigest()]
    if told.get("key") != key:
        told = {"key": key, "placement": None, "logits": []}
    logits, failures = told["logits"], 0
    while len(logits) < len(pixels) or not told["placement"]:
        simulator = Simulator(path)
        told["placement"] = asdict(simulator.placement)
        run = Artefact(manifest, simulator).run
        try:
            for _ in range(min(a_process, len(pixels) - len(logits))):
                logits.append(run(pixels[len(logits)][None])[0].tolist())
                kept.write_text(json.dumps(told))
                failures = 0
                print(f"\r{path.name}: {len(logits)} of {len(pixels)}", end="", file=sys.stderr, flush=True)
        except ValueError as e:  # a new process takes the picture again
            failures += 1
            print(f"\n{e}", file=sys.stderr)
            if failures == 2:
                raise
        finally:
            simulator.close()
    print(file=sys.stderr)
    placement = Placement(**told["placement"] | {"on_cpu": tuple(told["placement"]["on_cpu"])})
    return np.array(logits[: len(pixels)], np.float32), placement


def measure(model: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return every figure of one file."""
    path = file_of(model, kind, args)
    pictures = load(path, args.data, args.limit)
    exact = open_artefact(file_of(model, "fp32", args)).run(pictures.pixels)
    on_cpu = open_artefact(path).run(pictures.pixels)
    given, placement = simulate(path, pictures.pixels, args.pictures_a_process)

    def same(one: np.ndarray, other: np.ndarray) -> float:
        return 100 * float((one.argmax(1) == other.argmax(1)).mean())

    return {
        "file": path.stem, "is_ours": not kind.startswith("tool"), "num_pictures": len(given),
        "partitions": placement.partitions, "on_npu": sum(placement.on_npu.values()), "on_cpu": placement.on_cpu,
        "top1": 100 * float((given.argmax(1) == pictures.labels).mean()),
        "float_top1": 100 * float((exact.argmax(1) == pictures.labels).mean()),
        "same_as_float": same(exact, given), "db_to_float": sqnr_db(exact, given),
        "cpu_same_as_float": same(exact, on_cpu), "cpu_db_to_float": sqnr_db(exact, on_cpu),
        "same_as_cpu": same(on_cpu, given), "db_to_cpu": sqnr_db(on_cpu, given),
    }  # fmt: skip


HEAD = (
    "| file | pieces | nodes on the NPU | on the CPU | top-1 (float) | same top-1 as float, and dB | "
    "on ONNX Runtime's CPU | simulator and CPU |\n|---|---:|---:|---|---:|---:|---:|---:|"
)


def line(row: dict[str, Any]) -> str:
    left: dict[str, int] = {}
    for node in row["on_cpu"]:
        left[node.split()[0]] = left.get(node.split()[0], 0) + 1
    cells = [
        row["file"], str(row["partitions"]), str(row["on_npu"]),
        ", ".join(f"{count} {kind}" for kind, count in left.items()) or "none",
        f"{row['top1']:.1f}% ({row['float_top1']:.1f}%)",
        *(
            f"{row[same]:.1f}%, {row[db]:.1f}"
            for same, db in (
                ("same_as_float", "db_to_float"), ("cpu_same_as_float", "cpu_db_to_float"), ("same_as_cpu", "db_to_cpu")
            )
        ),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def is_cut(row: dict[str, Any]) -> bool:
    return row["partitions"] != 1 or any(node.split()[0] not in BOUNDARY for node in row["on_cpu"])


def main() -> int:
    args = build_parser().parse_args()
    rows = []
    if not args.json:
        print(HEAD)
    for kind in args.kinds:
        for model in args.models:
            rows.append(measure(model, kind, args))
            if not args.json:
                print(line(rows[-1]), flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))
    return 1 if args.check and any(row["is_ours"] and is_cut(row) for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
