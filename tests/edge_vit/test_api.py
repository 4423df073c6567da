"""The same from Python as from the commands: a variant is created, loaded and quantized, and what is wrong is said."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_vit import api

ROOT = Path(__file__).parents[2]


@torch.no_grad()
def test_create_gives_the_training_form():
    model = api.create("levit_128s", num_classes=3, resolution=64).eval()
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


@pytest.mark.needs_tflite
@torch.no_grad()
def test_load_and_quantize_give_what_is_lowered():
    model = api.load("levit_128s", "random", 64)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    batch = torch.from_numpy(pixels[:1]).float()
    expected = model.module(batch)
    assert model.preprocess.resolution == 64 and expected.shape == (1, 1000) and model.weights == "random"
    with pytest.raises(ValueError, match="random: float weights carry no ranges; give calibration pictures"):
        api.quantize(model)
    int8 = api.quantize(model, pixels)
    got = int8.graph(batch)
    assert int8.precision == "int8_ptq" and got.shape == expected.shape
    assert 0 < (got - expected).norm() < 0.3 * expected.norm(), "rounded to integers, and close"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: api.create("levit_1"), "unknown model 'levit_1'"),
        (lambda: api.load("levit_128s", "gone.pth"), "gone.pth does not exist"),
        (lambda: api.load("levit_128s", resolution=100), "resolution 100 is not allowed"),
        (lambda: api.ConvertConfig(model="levit_128s", target="caffe"), "unknown target 'caffe'"),
        (lambda: api.evaluate(api.AccuracyConfig(artefact=Path("gone.tflite"), data=ROOT)), "no such artefact"),
        (lambda: api.classify(api.ClassifyConfig(artefact=Path("gone.tflite"), images=(ROOT,))), "no such artefact"),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, edge_vit.api; print([n for n in ('torch', 'numpy', 'PIL', 'ai_edge_litert') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"
