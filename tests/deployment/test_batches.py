"""Several pictures at once, and pictures that are no squares: every family, in every format that takes them."""

import numpy as np
import pytest
import torch
from lowered import Lowered, smooth_pictures
from torch import nn

from edge_vit.quantization.pipeline import pixel_batches, run_pixels


class Recording(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.shape[0])
        return x.mean((1, 2))


def test_the_last_batch_is_filled_up_and_cut_off_again():
    pictures = smooth_pictures(16, count=5)
    model = Recording()
    outputs = run_pixels(model, pictures, batch=2)
    assert model.seen == [2, 2, 2]
    np.testing.assert_allclose(outputs, pictures.mean((1, 2)), rtol=1e-5)
    last = list(pixel_batches(pictures, 2))[-1]
    assert torch.equal(last[0], last[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0", "fastervit_edge_0"])
@pytest.mark.parametrize("is_int8", [False, True])
@pytest.mark.parametrize(
    "target",
    [
        pytest.param("tflite", marks=pytest.mark.needs_tflite),
        pytest.param("executorch", marks=pytest.mark.needs_executorch),
        pytest.param("onnx", marks=pytest.mark.needs_onnx),
    ],
)
def test_a_batch_gives_what_its_pictures_give(target, is_int8, name, tmp_path):
    model = Lowered.from_variant(name, resolution=64, batch=2)
    model = model.int8() if is_int8 else model
    written = model.to(target, tmp_path).outside(0).runs()
    assert written.result.input_shape == (2, 64, 64, 3)
    written.agrees(db=20 if is_int8 else 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0", "fastervit_0_any_res"])
@pytest.mark.parametrize("is_int8", [False, True])
@pytest.mark.parametrize(
    "target",
    [
        pytest.param("tflite", marks=pytest.mark.needs_tflite),
        pytest.param("executorch", marks=pytest.mark.needs_executorch),
        pytest.param("coreml", marks=pytest.mark.needs_coreml),
        pytest.param("onnx", marks=pytest.mark.needs_onnx),
    ],
)
def test_rectangles_in_every_format(target, is_int8, name, tmp_path):
    model = Lowered.from_variant(name, resolution=(64, 128))
    model = model.int8() if is_int8 else model
    written = model.to(target, tmp_path).runs()
    assert written.result.input_shape == (1, 64, 128, 3)
    written.agrees(db=20 if is_int8 else 60 if target != "coreml" else 35)
