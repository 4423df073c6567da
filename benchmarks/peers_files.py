"""The files that peers.py counts: how each is made of one network's float weights, and which runtime takes it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from converters.cache import cache_folder
from edge_vit.devices import packages

PNNX, MNN = "pnnx==20261020", "MNN==3.6.1"
RIVALS = Path(__file__).with_name("rivals.py")
NUM_PICTURES = 32
TARGETS = {".tflite": "tflite", ".pte": "executorch", ".onnx": "onnx"}


@dataclass(frozen=True, slots=True)
class Peer:
    """One file in one runtime.

    Attributes:
        name: What --only takes.
        runtime: Which runtime runs it: tflite, pte, or one of peers_guest.py; after a slash, how.
        make: Makes the file at the given path unless it is there.
        takes: "ours": as its manifest says; else normalised float pictures, NCHW.
        is_other: Another network, for scale.
    """

    name: str
    runtime: str
    file: str
    make: Callable[["Maker", Path], None]
    takes: str = "float"
    is_other: bool = False


def _split(x: Any, num_heads: int) -> Any:
    return x.view(*x.shape[:2], num_heads, x.shape[2] // num_heads).transpose(1, 2)


def _merge(x: Any, num_heads: int) -> Any:
    return x.transpose(1, 2).reshape(1, x.shape[2], num_heads * x.shape[3])


def _attend(q: Any, k: Any, v: Any, bias: Any, weigh: Callable[[Any], Any] = lambda x: x.softmax(-1)) -> Any:
    return weigh(q @ k.transpose(2, 3) + bias) @ v


FOUR_AXES = {"split_heads": _split, "merge_heads": _merge, "attend": _attend}


class Maker:
    """Makes the peers' files from one network's float weights."""

    def __init__(self, model: str, folder: Path, calib: Path) -> None:
        self.model, self.folder, self._calib = model, folder, calib

    def network(self) -> Any:
        """Return the published form of the network, with its weights, from normalised NCHW pictures to logits."""
        from edge_vit.models.rectangles import load_model
        from edge_vit.models.sources import find_weights

        source = find_weights(self.model, "embedded", prefer_quantized=False).float_source
        network, _ = load_model(self.model, source.checkpoint, len(source.metadata["classes"]), 224)
        return network.eval()

    def pictures(self) -> np.ndarray:
        """Return the pictures for calibration, (N, 3, 224, 224), normalised."""
        from calibration.dataset import list_images
        from calibration.preprocess import Preprocess
        from edge_vit.deployment.pictures import load_pictures

        return normalised(load_pictures(list_images(self._calib), Preprocess(resolution=224), NUM_PICTURES).pixels)

    def ours(self, path: Path) -> None:
        self._convert(self.model, TARGETS[path.suffix], path, self._int8_flags(path))

    def other(self, path: Path) -> None:
        """Make our file of another network, with random weights."""
        self._convert(f"{RIVALS}:{path.stem.rpartition('_')[0]}", "tflite", path, self._int8_flags(path))

    def _int8_flags(self, path: Path) -> list[str]:
        flags = ["--int8", "--calib", str(self._calib), "--calib-images", str(NUM_PICTURES)]
        return flags if "int8" in path.stem else []

    def _convert(self, model: str, target: str, path: Path, flags: Sequence[str]) -> None:
        _run(
            [
                sys.executable,
                "-m",
                "edge_vit.convert",
                model,
                "--target",
                target,
                "--output-dir",
                str(path.parent),
                *flags,
            ]
        )

    def litert_float(self, path: Path) -> None:
        import litert_torch
        import torch

        litert_torch.convert(self.network(), (torch.zeros(1, 3, 224, 224),)).export(str(path))

    def litert_pt2e(self, path: Path) -> None:
        import litert_torch
        import torch
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
        from litert_torch.quantize.quant_config import QuantConfig
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        sample = (torch.zeros(1, 3, 224, 224),)
        quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        graph = prepare_pt2e(torch.export.export(self.network(), sample).module(), quantizer)
        for picture in self.pictures():
            graph(torch.from_numpy(picture[None]))
        graph = convert_pt2e(graph, fold_quantize=False)
        litert_torch.convert(graph, sample, quant_config=QuantConfig(pt2e_quantizer=quantizer)).export(str(path))

    def litert_static(self, path: Path) -> None:
        from ai_edge_quantizer import Quantizer, recipe

        source = self.folder / f"{self.model}_stock_fp32.tflite"
        if not source.exists():
            self.litert_float(source)
        quantizer = Quantizer(str(source), recipe.static_wi8_ai8())
        name = next(iter(quantizer_inputs(source)))
        ranges = quantizer.calibrate({"serving_default": [{name: p[None]} for p in self.pictures()]})
        quantizer.quantize(ranges).export_model(str(path))

    def executorch_float(self, path: Path) -> None:
        self._lower(self.network(), path)

    def executorch_int8(self, path: Path) -> None:
        import torch
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        exported = torch.export.export(self.network(), (torch.zeros(1, 3, 224, 224),))
        graph = prepare_pt2e(exported.module(), quantizer)
        for picture in self.pictures():
            graph(torch.from_numpy(picture[None]))
        self._lower(convert_pt2e(graph), path)

    def _lower(self, network: Any, path: Path) -> None:
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(network, (torch.zeros(1, 3, 224, 224),))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)

    def onnx_float(self, path: Path) -> None:
        import torch

        program = torch.onnx.export(
            self.network(), (torch.zeros(1, 3, 224, 224),), dynamo=True, opset_version=20, verbose=False
        )
        program.save(str(path), external_data=False)

    def onnx_static(self, path: Path) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        source, prepared = self.folder / f"{self.model}_stock_fp32.onnx", path.with_suffix(".prepared.onnx")
        if not source.exists():
            self.onnx_float(source)
        pictures = iter(self.pictures())

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> dict[str, np.ndarray] | None:
                picture = next(pictures, None)
                return None if picture is None else {"x": picture[None]}

        quant_pre_process(str(source), str(prepared))
        activations = QuantType.QUInt8 if "u8s8" in path.stem else QuantType.QInt8
        quantize_static(
            str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=activations, weight_type=QuantType.QInt8,
        )  # fmt: skip
        prepared.unlink()

    def ncnn(self, path: Path) -> None:
        """Make ncnn's file of the fused form, heads on an axis of their own.

        Of the published form pnnx leaves operators that ncnn does not know, and it takes the first axis for a batch.
        """
        import torch

        from edge_vit.layers.fuse import fuse

        folder = packages.fetch_wheel(cache_folder() / PNNX.replace("==", "-"), PNNX)
        program = folder / "pnnx/pnnx"
        program.chmod(0o755)
        traced = path.with_suffix(".pt")
        network = fuse(self.network())
        with mock.patch.multiple("edge_vit.layers.norm_block", **FOUR_AXES):
            torch.jit.trace(network, torch.zeros(1, 3, 224, 224)).save(str(traced))
        with tempfile.TemporaryDirectory() as scratch:
            words = [str(program), str(traced), "inputshape=[1,3,224,224]", f"ncnnparam={path}", "fp16=0"]
            _run([*words, f"ncnnbin={path.with_suffix('.bin')}"], scratch)
        traced.unlink()

    def mnn(self, path: Path) -> None:
        source = self.folder / f"{self.model}_stock_fp32.onnx"
        if not source.exists():
            self.onnx_float(source)
        folder = packages.fetch_wheel(cache_folder() / MNN.replace("==", "-"), MNN)
        # The converter itself: the wrapper around it installs a package that reports its use.
        words = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(path), "--bizCode", "x"]
        words += ["--weightQuantBits", "8"] if "w8" in path.stem else []
        code = f"import sys; sys.path.insert(0, {str(folder)!r}); import _tools; _tools.mnnconvert({words!r})"
        _run([sys.executable, "-c", code])


PEERS = (
    Peer("ours .tflite float", "tflite", "{}_fp32.tflite", Maker.ours, "ours"),
    Peer("ours .tflite float, in float16", "tflite/half", "{}_fp32.tflite", Maker.ours, "ours"),
    Peer("ours .tflite int8", "tflite", "{}_int8.tflite", Maker.ours, "ours"),
    Peer("ours .pte float", "pte", "{}_fp32.pte", Maker.ours, "ours"),
    Peer("ours .pte int8", "pte", "{}_int8.pte", Maker.ours, "ours"),
    Peer("ours .onnx float", "onnxruntime", "{}_fp32.onnx", Maker.ours, "ours"),
    Peer("ours .onnx int8", "onnxruntime", "{}_int8.onnx", Maker.ours, "ours"),
    Peer("LiteRT float", "tflite", "{}_stock_fp32.tflite", Maker.litert_float),
    Peer("LiteRT int8, litert-torch PT2E", "tflite", "{}_stock_pt2e.tflite", Maker.litert_pt2e),
    Peer("LiteRT int8, AI Edge Quantizer", "tflite", "{}_stock_static.tflite", Maker.litert_static),
    Peer("ExecuTorch float", "pte", "{}_stock_fp32.pte", Maker.executorch_float),
    Peer("ExecuTorch int8, its XNNPACK quantizer", "pte", "{}_stock_int8.pte", Maker.executorch_int8),
    Peer("ONNX Runtime float", "onnxruntime", "{}_stock_fp32.onnx", Maker.onnx_float),
    Peer("ONNX Runtime int8, static s8s8", "onnxruntime", "{}_stock_s8s8.onnx", Maker.onnx_static),
    Peer("ONNX Runtime int8, static u8s8", "onnxruntime", "{}_stock_u8s8.onnx", Maker.onnx_static),
    Peer("ncnn float32", "ncnn/fp32", "{}_stock.ncnn.param", Maker.ncnn),
    Peer("ncnn, its default (float16)", "ncnn/fp16", "{}_stock.ncnn.param", Maker.ncnn),
    Peer("MNN float", "mnn/high", "{}_stock_fp32.mnn", Maker.mnn),
    Peer("MNN float16", "mnn/low", "{}_stock_fp32.mnn", Maker.mnn),
    Peer("MNN, 8-bit weights (computes in float)", "mnn/high", "{}_stock_w8.mnn", Maker.mnn),
    Peer("MNN, 8-bit weights, float16, little memory", "mnn/low-memory", "{}_stock_w8.mnn", Maker.mnn),
    Peer("EfficientNet-Lite0 float, by us", "tflite", "efficientnet_lite0_fp32.tflite", Maker.other, "ours", True),
    Peer("EfficientNet-Lite0 int8, by us", "tflite", "efficientnet_lite0_int8.tflite", Maker.other, "ours", True),
    Peer("MobileNetV3-Large float, by us", "tflite", "mobilenetv3_large_fp32.tflite", Maker.other, "ours", True),
    Peer("MobileNetV3-Large int8, by us", "tflite", "mobilenetv3_large_int8.tflite", Maker.other, "ours", True),
)


def quantizer_inputs(model: Path) -> list[str]:
    """Return the names of a .tflite's inputs, as its signature calls them."""
    from ai_edge_litert.interpreter import Interpreter

    return list(Interpreter(str(model)).get_signature_list()["serving_default"]["inputs"])


def normalised(pixels: np.ndarray) -> np.ndarray:
    """Return pictures (N, 3, H, W), float32, normalised by ImageNet's mean and deviation, of pixels (N, H, W, 3)."""
    from calibration.preprocess import Preprocess

    p = Preprocess(resolution=224)
    return np.ascontiguousarray(((pixels / 255 - p.mean) / p.std).transpose(0, 3, 1, 2), np.float32)


def _run(command: list[str], folder: str | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise ValueError(f"{Path(command[0]).name} failed: {' / '.join(done.stderr.splitlines()[-3:])}")
