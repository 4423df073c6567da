"""Core ML off a Mac: every variant's float32 ML program, evaluated by the MIL interpreter, against torch.

    python benchmarks/mil_parity.py [--models NAME ...] [--json]

Random weights with the statistics of trained ones. Prints the largest difference of a logit as a share of the largest
logit; exits with 1 when one is above 1e-4. Variants above 60 M parameters are left out, and named.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT = 1e-4
MAX_PARAMS = 60e6


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="default: all")
    parser.add_argument("--json", action="store_true")
    return parser


def measure(name: str) -> dict[str, Any]:
    """Convert one variant and compare it on seeded pixels."""
    import torch

    from converters import run_coreml, to_coreml
    from edge_vit import create_model, fuse
    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.models.weights import randomize_

    net = create_model(name, num_classes=10)
    num_params = sum(p.numel() for p in net.parameters())
    if num_params > MAX_PARAMS:
        return {"model": name, "params": num_params, "difference": None}
    randomize_(net)
    model = PixelInput(fuse(net.eval()), 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.mlpackage")
        to_coreml.convert(
            model, (torch.zeros(1, 224, 224, 3),), path, options=to_coreml.CoreMLOptions(float_precision="fp32")
        )
        converting_s = time.perf_counter() - started
        pixels = torch.randint(0, 256, (1, 224, 224, 3), generator=torch.Generator().manual_seed(2))
        found = torch.from_numpy(run_coreml.load(path, 1)(pixels.to(torch.uint8).numpy()))
    with torch.no_grad():
        expected = model(pixels.float())
    difference = float((found - expected).abs().max() / expected.abs().max())
    return {"model": name, "params": num_params, "difference": difference, "converting_s": converting_s}


def main(argv: list[str] | None = None) -> int:
    """Run the comparison; return its exit code."""
    args = build_parser().parse_args(argv)
    from edge_vit import list_models

    results = []
    for name in args.models or list_models():
        result = measure(name)
        results.append(result)
        difference = result["difference"]
        shown = "left out, above 60 M parameters" if difference is None else f"{difference:.1e}"
        print(f"{name:<28}{result['params'] / 1e6:>8.1f} M  {shown}", file=sys.stderr, flush=True)
    wrong = [r["model"] for r in results if r["difference"] is not None and not r["difference"] <= LIMIT]
    compared = [r["difference"] for r in results if r["difference"] is not None]
    summary = f"{len(compared) - len(wrong)} of {len(compared)} variants within {LIMIT:g} of the largest logit"
    print(json.dumps(results, indent=2) if args.json else f"{summary}; the largest difference {max(compared):.1e}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
