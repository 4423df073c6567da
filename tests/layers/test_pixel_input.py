"""Pixels in, the same logits out: normalisation folded into the first convolution changes nothing."""

import pytest
import torch
from torch import nn

from edge_vit.layers.pixel_input import PixelInput

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def model(randomise_):
    return randomise_(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1))).eval()


@pytest.mark.parametrize(("batch", "stored"), [(1, 1), (3, 1), (3, 3), (1, 3), (2, 3)])
@pytest.mark.parametrize("size", [16, (12, 20)])
def test_equal_to_normalising_first(model, batch, stored, size):
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.randint(0, 256, (batch, height, width, 3), generator=torch.Generator().manual_seed(0)).float()
    taking_pixels = PixelInput(model, size, MEAN, STD).eval()
    taking_pixels.fill_batch_(stored)
    normalised = (pixels / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        expected = model(normalised.permute(0, 3, 1, 2))
        actual = taking_pixels(pixels)
    # The border too: zero padding of normalised images is padding with mean colour.
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_the_model_itself_is_left_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    PixelInput(model, 16, MEAN, STD)
    assert model[0].padding == (1, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("first", "side"),
    [
        (nn.Conv2d(3, 8, 3, 2, 1), 15),
        (nn.Conv2d(3, 8, 3, 1, 1), 16),
        (nn.Conv2d(3, 8, 5, 2, 1), 16),
        (nn.Conv2d(3, 8, 3, 2, 1, bias=False), 16),
    ],
)
def test_another_first_layer_is_refused(first, side):
    with pytest.raises(ValueError, match=r"pixels need a first convolution 3x3 / 2 on an even side, not .* on"):
        PixelInput(nn.Sequential(first), side, MEAN, STD)
