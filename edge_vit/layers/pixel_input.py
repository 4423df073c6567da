"""Take RGB pixels instead of normalised images, at the cost of one subtraction.

The division by the standard deviation goes into the first convolution. The mean stays an operator of its own, before
the zero padding, because padding must keep meaning "mean colour": folding the mean into the bias as well would change
the outermost ring of pixels.
"""

import copy

import torch
from torch import Tensor, nn


class PixelInput(nn.Module):
    """Feed pixels (B, R, R, 3), float, 0 to 255, into a deploy-form model that expects normalised (B, 3, R, R).

    The subtraction runs on rows of `R * 3` values: a runtime broadcasts along rows at full speed, along three
    channels a pixel at a time (XNNPACK on aarch64: 0.2 M against 3.2 M instructions at R = 224).
    """

    row_mean: Tensor

    def __init__(
        self, model: nn.Module, resolution: int, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.resolution = resolution
        self.register_buffer("row_mean", 255.0 * torch.tensor(mean).repeat(resolution))
        first = next(module for module in self.model.modules() if isinstance(module, nn.Conv2d))
        assert first.in_channels == 3, "the first convolution reads the picture"
        first.weight.data.div_(255.0 * torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        side = self.resolution
        x = pixels.reshape(-1, side, side * 3) - self.row_mean
        return self.model(x.view(-1, side, side, 3).permute(0, 3, 1, 2))  # (B, H, W, C) -> (B, C, H, W)
