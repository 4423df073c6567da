"""A file for NPUs computes in integers from end to end, and the reference kernels compute what its graph does."""

import numpy as np
import pytest
import torch
from lowered import Lowered
from torch import Tensor, nn

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from converters.sqnr import sqnr_db
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.quantization.pipeline import run_pixels
from edge_vit.quantization.processors import CPU, NPU

pytestmark = pytest.mark.needs_tflite
SIDE = 32


class Everything(nn.Module):
    """Convolution, Hardswish that no layer follows, attention, layer norms, GELU, a gate of sigmoids, a mean."""

    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 4, 4))
        self.act = nn.Hardswish()
        self.norm1, self.norm2 = (nn.LayerNorm(16, elementwise_affine=False) for _ in range(2))
        self.query, self.key, self.value, self.gate = (nn.Linear(16, 16) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)
        self.register_buffer("bias", torch.randn(1, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x)).flatten(2).transpose(1, 2)
        y = self.norm1(x)
        scores = torch.bmm(self.query(y), self.key(y).transpose(1, 2)) + self.bias
        x = x + torch.bmm(scores.softmax(-1), self.value(y))
        x = x + self.mlp(self.norm2(x))
        return self.head((x * self.gate(x).sigmoid()).view(1, 4, 4, 16).mean((1, 2)))


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return PixelInput(Everything(), SIDE, IMAGENET_MEAN, IMAGENET_STD).eval()


@pytest.fixture(scope="module")
def for_npu(module):
    return Lowered.from_module(module, SIDE).int8(NPU)


def reference_outputs(path, inputs):
    """Run a file with LiteRT's reference kernels, the ones that define what an operator gives."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (source,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for one in inputs:
        interpreter.set_tensor(source["index"], one[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output["index"])[0])
    scale, zero_point = output["quantization"]
    values = np.stack(rows)
    return (values.astype(np.float32) - zero_point) * scale if values.dtype == np.int8 else values


def test_integers_from_end_to_end(for_npu, tmp_path):
    lowered = for_npu.to("tflite", tmp_path)
    lowered.operators(
        SOFTMAX={"int8": 1}, GELU={"int8": 1}, HARD_SWISH={"int8": 1}, RSQRT={"int8": 2}, LOGISTIC={"int8": 1},
        QUANTIZE={"int8": 1}, DEQUANTIZE={"boundary": 1},
    ).same_integers().runs().agrees(db=28)  # fmt: skip
    summary = lowered.result.details["operators"]
    assert summary.float_islands == () and {p for by in summary.counts.values() for p in by} == {"int8", "boundary"}
    expected = run_pixels(lowered.module, lowered.pictures)
    assert sqnr_db(expected, reference_outputs(lowered.result.path, lowered.pictures)) >= 28


def test_integers_at_the_ends_too(for_npu, tmp_path):
    integers = for_npu.to("tflite", tmp_path, io="int8").operators(QUANTIZE={}, DEQUANTIZE={}).runs()
    details = integers.result.details
    assert (details["input_dtype"], details["input_range"], details["output_dtype"]) == (
        "int8",
        (-128.0, 127.0),
        "int8",
    )
    integers.agrees(db=28)
    inputs = (integers.pictures.astype(np.int16) - 128).astype(np.int8)
    expected = run_pixels(integers.module, integers.pictures)
    assert sqnr_db(expected, reference_outputs(integers.result.path, inputs)) >= 28


def test_for_cpus_softmax_and_norms_stay_in_float(module, tmp_path):
    lowered = Lowered.from_module(module, SIDE).int8(CPU).to("tflite", tmp_path)
    lowered.operators(SOFTMAX={"float32": 1}, GELU={"float32": 1})
