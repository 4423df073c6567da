"""Core ML off a Mac: float32 ML programs, evaluated by the MIL interpreter, against torch.

    python benchmarks/mil_parity.py [--models NAME ...] [--results FILE]

All variants up to 60 M parameters, and four networks of torchvision (`pip install --no-deps torchvision==0.28.0`; they
are named and left out where it is absent). The interpreter has the operators of our own networks and of common
convolutional ones, none for swin_t's windows. Random weights with the statistics of trained ones. Prints a table of the
largest difference of a logit as a share of the largest logit, beside it by how much logits change from one picture to
another; exits with 1 when a difference is above 1e-4, or logits hardly change. Each result is added to --results at
once, and what stands there is not computed again.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

LIMIT = 1e-4
MIN_CHANGE = 0.01  # where logits do not depend on the picture there is nothing to compare
MAX_PARAMS = 60e6
SIDE = 224
FOREIGN = ("resnet18", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny")
MEAN, STD = (123.0, 118.0, 104.0), 58.0  # of the foreign networks' pictures


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="variants, or torchvision/NAME; default: all, and four of those")
    parser.add_argument("--results", type=Path, default=Path("artifacts/mil_parity.jsonl"), help="(%(default)s)")
    return parser


def build(name: str) -> tuple[int, int, Any]:
    """Return how many parameters a network has, its input's side, and its deploy form for pixels (None: too large)."""
    import torch

    from edge_vit import create_model, fuse
    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.models.registry import get_spec
    from edge_vit.models.weights import randomize_

    torch.manual_seed(0)
    if name.startswith("torchvision/"):
        # Only detection needs torchvision's compiled operators, which load with the same build of torch alone.
        sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
        from torchvision import models

        net = models.get_model(name.removeprefix("torchvision/"), num_classes=10)
        for parameter in net.parameters():
            if float(parameter.detach().std()) == 0.0:  # biases and scales as initialised
                parameter.data += 0.1 * torch.randn_like(parameter)
        for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.momentum = None  # a plain average over all that is seen
        with torch.no_grad():
            net(torch.randn(8, 3, SIDE, SIDE))
        num_params = sum(p.numel() for p in net.parameters())
        return num_params, SIDE, _on_pixels(net).eval()
    published = get_spec(name).config.resolution
    side = published if isinstance(published, int) else SIDE  # networks for rectangles take squares too
    net = create_model(name, num_classes=10, resolution=side)
    num_params = sum(p.numel() for p in net.parameters())
    if num_params > MAX_PARAMS:
        return num_params, 0, None
    randomize_(net)
    return num_params, side, PixelInput(fuse(net.eval()), side, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()


def _on_pixels(net: Any) -> Any:
    """Put the normalisation of pixels (1, H, W, 3) before a network of (1, 3, H, W)."""
    import torch

    class OnPixels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net
            self.register_buffer("mean", torch.tensor(MEAN))

        def forward(self, pixels: Any) -> Any:
            return self.net((pixels - self.mean).permute(0, 3, 1, 2) / STD)

    return OnPixels()


def measure(name: str) -> dict[str, Any]:
    """Convert one network and compare it on two drawn pictures."""
    import numpy as np
    import torch

    from calibration.preprocess import Preprocess
    from converters.coreml.lower import CoreMLOptions, convert
    from converters.coreml.mil.interpreter import load
    from edge_vit.deployment.pictures import drawn_pictures

    num_params, side, model = build(name)
    result: dict[str, Any] = {"model": name, "params": num_params, "difference": None}
    if model is None:
        return result
    pixels = torch.from_numpy(drawn_pictures(Preprocess(resolution=side), 2).pixels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.mlpackage")
        started = time.process_time()
        convert(model, (torch.zeros(1, side, side, 3),), path, options=CoreMLOptions(float_precision="fp32"))
        result["converting_s"] = time.process_time() - started
        program = load(path)
        result["operators"] = len(program.operator_counts())
        outputs = [program.predict({"image": picture.numpy()})["logits"] for picture in pixels]
    found = torch.from_numpy(np.concatenate(outputs))
    with torch.no_grad():
        expected = torch.cat([model(picture[None].float()) for picture in pixels])
    result["difference"] = float((found - expected).abs().max() / expected.abs().max())
    result["change"] = float((expected[0] - expected[1]).abs().max() / expected.abs().max())
    return result


def known_results(path: Path) -> dict[str, dict[str, Any]]:
    """Return what an earlier run wrote, by model."""
    if not path.exists():
        return {}
    return {result["model"]: result for result in map(json.loads, path.read_text().splitlines())}


def table(results: list[dict[str, Any]]) -> list[str]:
    """Return the results as a Markdown table."""
    lines = [
        "| network | M parameters | kinds of operators | largest difference | change between two pictures |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        if r["difference"] is None:
            lines.append(f"| {r['model']} | {r['params'] / 1e6:.1f} | - | left out, above 60 M parameters | - |")
        else:
            row = f"| {r['model']} | {r['params'] / 1e6:.1f} | {r['operators']} | {r['difference']:.1e} "
            lines.append(row + f"| {r['change']:.2f} |")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Run the comparison; return its exit code."""
    args = build_parser().parse_args(argv)
    from edge_vit import list_models

    names = args.models or [*list_models(), *(f"torchvision/{name}" for name in FOREIGN)]
    if importlib.util.find_spec("torchvision") is None:
        left_out = [name for name in names if name.startswith("torchvision/")]
        names = [name for name in names if name not in left_out]
        print(f"torchvision is absent; left out: {', '.join(left_out)}", file=sys.stderr)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    known = known_results(args.results)
    for name in names:
        if name in known:
            continue
        known[name] = measure(name)
        print(json.dumps(known[name]), file=sys.stderr, flush=True)
        with args.results.open("a") as file:
            file.write(json.dumps(known[name]) + "\n")
    results = [known[name] for name in names]
    compared = [r for r in results if r["difference"] is not None]
    wrong = [r["model"] for r in compared if not (r["difference"] <= LIMIT and r["change"] >= MIN_CHANGE)]
    print("\n".join(table(results)))
    print(f"\n{len(compared) - len(wrong)} of {len(compared)} within {LIMIT:g} of the largest logit")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
