"""One small exported LeViT for all tests of quantization."""

import numpy as np
import pytest
import torch

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from edge_vit.layers.fuse import fuse
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.models import create_model
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.plan import make_plan
from edge_vit.quantization.ptq import calibrate

SIDE = 64


def randomise_(model, seed=0):
    """Give every norm and bias table values that a trained network might have; fresh ones are the identity or zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.dtype.is_floating_point:
            continue
        noise = torch.rand(tensor.shape, generator=generator)
        if name.endswith("running_var") or (name.endswith("norm.weight")):
            tensor.data = 0.5 + noise
        elif name.endswith(("running_mean", "norm.bias", "table")):
            tensor.data = 0.4 * (noise - 0.5)


@pytest.fixture(scope="session")
def pixel_model():
    torch.manual_seed(0)
    model = create_model("levit_128s", num_classes=10, resolution=SIDE)
    randomise_(model)
    return PixelInput(fuse(model.eval()), SIDE, IMAGENET_MEAN, IMAGENET_STD).eval()


@pytest.fixture(scope="session")
def pictures():
    """Smooth random pictures, (16, 64, 64, 3) uint8."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (16, 8, 8, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(blocks + rng.normal(0, 10, blocks.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def batches(pictures):
    return [torch.from_numpy(picture[None]).float() for picture in pictures]


@pytest.fixture
def graph(pixel_model):
    return export_graph(pixel_model, torch.zeros(1, SIDE, SIDE, 3))


@pytest.fixture(scope="session")
def ranges(pixel_model, batches):
    exported = export_graph(pixel_model, torch.zeros(1, SIDE, SIDE, 3))
    return calibrate(exported, make_plan(exported), batches)
