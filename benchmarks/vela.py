"""What Arm's compiler for Ethos-U NPUs (Vela) makes of our files, and of stock tools' files: operators, cycles, memory.

    python -m venv vela && vela/bin/pip install ethos-u-vela     # apart: it pins numpy
    python benchmarks/vela.py --vela vela/bin/vela [--models levit_128s ...] [--artifacts DIR] [--stock] [--check]

Files are written by edge_vit.convert --processor npu, with the embedded weights where there are any, else with random
ones and ranges from drawn pictures: what is compiled depends on neither. --stock adds, for embedded models, the float
file quantized by AI Edge Quantizer (static, int8), and our file for CPUs. Cycles are Vela's own estimate for its
default memories. With --check the exit code is 1 when an npu file leaves more to the CPU than its last DEQUANTIZE.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Those whose int8 files this machine makes; the others of a family have the same operators.
MODELS = (
    "levit_128s", "levit_128", "levit_192", "levit_256", "levit_384", "levit_edge_128s", "efficientvit_m0",
    "efficientvit_m1", "efficientvit_m2", "efficientvit_m3", "efficientvit_m4", "efficientvit_m5",
    "efficientvit_edge_m4", "fastervit_0", "fastervit_1", "fastervit_2", "fastervit_edge_0",
)  # fmt: skip
EMBEDDED = ("levit_128s", "efficientvit_m0", "fastervit_edge_0")
ACCELERATORS = ("ethos-u65-256", "ethos-u85-512")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vela", type=Path, default=Path("vela"), help="the command (vela)")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--accelerators", nargs="+", default=ACCELERATORS)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--stock", action="store_true", help="stock tools' files and files for CPUs, too")
    parser.add_argument("--check", action="store_true", help="exit with 1 when operators are left to the CPU")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("files", nargs="*", type=Path, help="other .tflite files")
    return parser


def make(model: str, precision: str, processor: str, folder: Path) -> Path:
    """Return our file, converted now unless it is there."""
    made_for = "" if processor == "cpu" else f"_{processor}"
    path = folder / f"{model}_{precision}{made_for}.tflite"
    if not path.exists():
        words = [model, "--target", "tflite", "--processor", processor, "--output-dir", str(folder)]
        words += [] if precision == "fp32" else [f"--{precision}"]
        with tempfile.TemporaryDirectory() as pictures:
            if model not in EMBEDDED:
                draw(Path(pictures))
                words += ["--weights", "random", *(["--calib", pictures] if precision == "int8" else [])]
            convert(words)
    return path


def convert(words: Sequence[str]) -> None:
    """Run edge_vit.convert.

    Raises:
        RuntimeError: If it fails, with its last line.
    """
    done = subprocess.run([sys.executable, "-m", "edge_vit.convert", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr.splitlines()[-1]}")


def draw(folder: Path) -> None:
    """Draw pictures to calibrate and verify on."""
    from edge_vit.evaluation.drawing import SUBJECTS, draw

    for i in range(48):
        picture = draw(SUBJECTS[i % len(SUBJECTS)])
        picture.crop((3 * i, 2 * i, picture.width - i, picture.height - i)).save(folder / f"{i}.png")


def quantize_with_tool(path: Path) -> Path:
    """Quantize a float file with AI Edge Quantizer: static, int8, a scale a channel, ranges from drawn pictures."""
    from ai_edge_quantizer import quantizer, recipe

    from converters.tflite.reader import read_model

    output = path.with_name(path.stem.removesuffix("_fp32") + "_stock.tflite")
    if output.exists():
        return output
    shape = read_model(path).input_tensors[0].shape
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (8, 14, 14, 3)).repeat(shape[1] // 14, 1).repeat(shape[2] // 14, 2)
    tool = quantizer.Quantizer(str(path))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    name = next(iter(signature_inputs(path)))
    ranges = tool.calibrate({"serving_default": [{name: block[None].astype(np.uint8)} for block in blocks]})
    tool.quantize(ranges).export_model(str(output))
    return output


def signature_inputs(path: Path) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    signatures = Interpreter(str(path)).get_signature_list()
    return list(next(iter(signatures.values()))["inputs"])


def compile_with_vela(vela: Path, path: Path, accelerator: str) -> dict[str, object]:
    """Compile a file; return what Vela says of it.

    Raises:
        RuntimeError: If it does not compile it.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [str(vela), "--accelerator-config", accelerator, "--output-dir", folder, str(path)]
        done = subprocess.run(words, capture_output=True, text=True)
        summaries = list(Path(folder).glob("*_summary_*.csv"))
        if done.returncode or not summaries:
            raise RuntimeError(f"{path.name}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        with summaries[0].open() as file:
            (row,) = csv.DictReader(file)
    counts = {kind: int(re.search(rf"{kind} operators = (\d+)", done.stdout).group(1)) for kind in ("CPU", "NPU")}
    left: dict[str, int] = {}
    for kind in re.findall(r"Warning \(supported operators\) operator: (\w+)", done.stdout):
        left[kind] = left.get(kind, 0) + 1
    return {
        "file": path.name,
        "accelerator": accelerator,
        "cpu_operators": counts["CPU"],
        "npu_operators": counts["NPU"],
        "left_to_the_cpu": left,
        "cycles": int(float(row["cycles_total"])),
        "sram_kib": float(row["sram_memory_used"]),
        "dram_kib": float(row["dram_memory_used"]),
        "macs": int(row["nn_macs"]),
    }


def line(row: dict[str, object]) -> str:
    left = ", ".join(f"{count} {kind}" for kind, count in row["left_to_the_cpu"].items())  # type: ignore[attr-defined]
    return (
        f"| {row['file']} | {row['accelerator']} | {row['cpu_operators']} | {left} | {row['npu_operators']} | "
        f"{row['cycles'] / 1e6:.2f} | {row['sram_kib']:.0f} | {row['dram_kib'] / 1024:.1f} |"  # type: ignore[operator]
    )


def main() -> int:
    args = build_parser().parse_args()
    rows, failed = [], False
    if not args.json:
        print("| file | accelerator | CPU operators | which | NPU operators | M cycles | SRAM KiB | DRAM MiB |")
        print("|---|---|---:|---|---:|---:|---:|---:|")

    def show(path: Path, is_checked: bool) -> None:
        nonlocal failed
        for accelerator in args.accelerators:
            try:
                row = compile_with_vela(args.vela, path, accelerator)
            except RuntimeError as e:
                print(f"| {path.name} | {accelerator} | not compiled: {e} |", flush=True)
                failed |= is_checked
                continue
            rows.append(row)
            failed |= is_checked and row["left_to_the_cpu"] != {"DEQUANTIZE": 1}
            if not args.json:
                print(line(row), flush=True)

    for model in args.models:
        show(make(model, "int8", "npu", args.artifacts), True)
    for model in [name for name in args.models if name in EMBEDDED] if args.stock else ():
        show(make(model, "int8", "cpu", args.artifacts), False)
        show(quantize_with_tool(make(model, "fp32", "cpu", args.artifacts)), False)
    for path in args.files:
        show(path, False)
    if args.json:
        print(json.dumps(rows, indent=2))
    return 1 if args.check and failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
