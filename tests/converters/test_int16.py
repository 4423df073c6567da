"""int8 weights and int16 activations: both formats compute the graph, nearly without noise of their own."""

import pytest
import torch
from lowered import Lowered, smooth_pictures
from torch import nn

from converters.sqnr import sqnr_db
from edge_vit.quantization.pipeline import run_pixels


@pytest.fixture
def wide(small_model):
    return Lowered.from_module(small_model, 16).int16()


def test_the_graph_is_finer_than_that_of_8_bits(small_model, wide):
    pictures = smooth_pictures(16)
    floats = run_pixels(small_model, pictures)
    noise = [sqnr_db(floats, run_pixels(graph, pictures)) for graph in (wide.narrow, wide.module)]
    assert noise[1] > noise[0] + 3.0, noise


@pytest.mark.needs_tflite
def test_tflite(wide, tmp_path):
    wide.to("tflite", tmp_path).operators(
        SOFTMAX={"int16": 1}, BATCH_MATMUL={"int16": 2}, CONV_2D={"int16": 2}, QUANTIZE={"boundary": 1},
        DEQUANTIZE={"boundary": 2},
    ).runs().agrees(db=50)  # fmt: skip


@pytest.mark.needs_onnx
def test_onnx(wide, tmp_path):
    lowered = wide.to("onnx", tmp_path).operators(Softmax={"int16": 1}, MatMul={"int16": 2}).runs().agrees(db=50)
    counts = lowered.result.details["operators"].counts
    assert {precision for by in counts.values() for precision in by} == {"int16"}


class OddLayers(nn.Module):
    """A linear layer over three axes with a ReLU, and a channel that is nothing but its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tokens, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 8), nn.Linear(8, 5)
        with torch.no_grad():
            self.tokens.weight[3] = 1e-6
            self.tokens.bias[3] = 2.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.tokens(self.stem(x).flatten(2).transpose(1, 2)))
        return self.head(x.mean(1))


@pytest.mark.needs_onnx
def test_onnx_has_no_float_island_and_keeps_large_biases_of_small_weights(tmp_path):
    """32 bits cannot hold that bias in steps of its weights' size."""
    from edge_vit.layers.pixel_input import PixelInput

    torch.manual_seed(0)
    module = PixelInput(OddLayers(), 16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    lowered = Lowered.from_module(module, 16).int16().to("onnx", tmp_path)
    counts = lowered.result.details["operators"].counts
    assert "Relu" not in counts, "the grid saturates where it does"
    assert {precision for by in counts.values() for precision in by} == {"int16"}
    lowered.runs().agrees(db=60)
