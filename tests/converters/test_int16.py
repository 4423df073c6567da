"""int8 weights and int16 activations: both formats compute the graph, nearly without noise of their own."""

import pytest
from lowered import Lowered, smooth_pictures

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
