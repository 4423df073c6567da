"""What stock tools make of a network of somebody's own in int8, and how any of these files is run.

AI Edge Quantizer: static_wi8_ai8 on litert-torch's float file, pixels normalised outside. PT2E: litert-torch's
quantizer, static, a scale a channel. ONNX Runtime: quantize_static, QDQ, uint8 activations, int8 weights, a scale a
channel, after its own pre-processing. Each takes the network in eval mode, normalised pictures (B, 3, H, W) to logits
or to what `layers.own_pixels.logits_of` takes them from, and calibration pictures as pixels (N, H, W, 3), uint8.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calibration.preprocess import Preprocess, normalise
from edge_vit.layers.own_pixels import LogitsOnly

Run = Callable[[np.ndarray], np.ndarray]  # pixels (B, H, W, 3), uint8 -> logits (B, classes)


def litert_float(net: nn.Module, preprocess: Preprocess, path: Path) -> None:
    """Convert with litert-torch, pictures channels last."""
    import litert_torch

    wrapped = litert_torch.to_channel_last_io(LogitsOnly(net), args=[0]).eval()
    litert_torch.convert(wrapped, (torch.zeros(1, *preprocess.size, 3),)).export(str(path))


def aeq(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, path: Path) -> None:
    """Quantize litert-torch's float file with AI Edge Quantizer."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    floats = path.with_name(f"{path.stem.removesuffix('_aeq')}_stock_float.tflite")
    if not floats.exists():
        litert_float(net, preprocess, floats)
    tool = quantizer.Quantizer(str(floats), recipe.static_wi8_ai8())
    ((key, signature),) = Interpreter(str(floats)).get_signature_list().items()
    (name,) = signature["inputs"]
    batches = [{name: normalise(p, preprocess).transpose(0, 2, 3, 1).copy()} for p in pixels]
    tool.quantize(tool.calibrate({key: batches})).export_model(str(path), overwrite=True)


def pt2e(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, path: Path) -> None:
    """Quantize in torch with litert-torch's PT2E quantizer, then convert."""
    import litert_torch
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    tool = PT2EQuantizer().set_global(config)
    example = (torch.zeros(1, 3, *preprocess.size),)
    prepared = prepare_pt2e(torch.export.export(LogitsOnly(net).eval(), example).module(), tool)
    with torch.no_grad():
        for picture in pixels:
            prepared(torch.from_numpy(normalise(picture, preprocess)))
    quantized = convert_pt2e(prepared, fold_quantize=False)
    litert_torch.convert(quantized, example, quant_config=QuantConfig(pt2e_quantizer=tool)).export(str(path))


def ort(net: nn.Module, preprocess: Preprocess, pixels: np.ndarray, path: Path) -> None:
    """Export to ONNX and quantize with ONNX Runtime's tool."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    floats = path.with_name(f"{path.stem.removesuffix('_ort')}_stock_float.onnx")
    example = (torch.zeros(1, 3, *preprocess.size),)
    torch.onnx.export(LogitsOnly(net), example, str(floats), input_names=["x"], dynamo=True, external_data=False)
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


TOOLS: dict[str, Callable[[nn.Module, Preprocess, np.ndarray, Path], None]] = {"aeq": aeq, "pt2e": pt2e, "ort": ort}


def runner(path: Path, preprocess: Preprocess) -> Run:
    """Open a file: ours takes pixels, a stock tool's normalised pictures in the layout and type that it says."""
    if path.name.endswith(("_int8.tflite", "_fp32.tflite")):
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
            found.append(from_grid(interpreter.get_tensor(wanted["index"]), wanted))
        return np.concatenate(found)

    return run


def _to_grid(value: np.ndarray, tensor: Any) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return np.ascontiguousarray(value)
    scale, zero_point = tensor["quantization"]
    return np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)


def from_grid(value: np.ndarray, tensor: Any) -> np.ndarray:
    """Return a .tflite's output as float32; `tensor` is what its interpreter says of it."""
    if tensor["dtype"] == np.float32:
        return value.copy()
    scale, zero_point = tensor["quantization"]
    return ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)
