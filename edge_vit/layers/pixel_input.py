"""Take RGB pixels instead of normalised images, without an operator for the normalisation.

Mean and standard deviation go into the first convolution. Its zero padding meant "mean colour" after normalisation, so
the picture gets a border of mean colour before it, and the convolution pads no more. A border costs two copies; a
subtraction of the mean costs 2.5 instructions a value in int8 (XNNPACK on aarch64, 0.37 M at R = 224).
"""

import copy

import torch
from torch import Tensor, nn


class PixelInput(nn.Module):
    """Feed pixels (B, H, W, 3), float, 0 to 255, into a deploy-form model that expects normalised (B, 3, H, W).

    Raises:
        ValueError: If the model does not begin with a 3x3 convolution of stride 2 and padding 1, or a side is odd: then
            the border would be another one.
    """

    top: Tensor
    left: Tensor

    def __init__(
        self,
        model: nn.Module,
        resolution: int | tuple[int, int],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
        first = next(module for module in self.model.modules() if isinstance(module, nn.Conv2d))
        shape = (first.in_channels, first.kernel_size, first.stride, first.padding)
        if shape != (3, (3, 3), (2, 2), (1, 1)) or first.bias is None or height % 2 or width % 2:
            raise ValueError(f"pixels need a first convolution 3x3 / 2 on an even side, not {shape} on {resolution}")
        # An even side under stride 2 never reaches the padding below and to the right.
        color = 255.0 * torch.tensor(mean, dtype=torch.float64)
        self.register_buffer("top", color.float().repeat(1, 1, width, 1))
        self.register_buffer("left", color.float().repeat(1, height + 1, 1, 1))
        weight = first.weight.detach().double() / (255.0 * torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1))
        bias = first.bias.detach().double() - (weight.sum((2, 3)) @ color)
        first.weight.data, first.bias.data, first.padding = weight.float(), bias.float(), (0, 0)

    def fill_batch_(self, batch: int) -> None:
        """Store the border for so many pictures, so that a graph exported for them need not spread it each time."""
        self.top, self.left = self.top[:1].repeat(batch, 1, 1, 1), self.left[:1].repeat(batch, 1, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        batch, top, left = pixels.shape[0], self.top, self.left
        if batch != top.shape[0]:  # the exported case joins the constants as they are
            top, left = top[:1].expand(batch, -1, -1, -1), left[:1].expand(batch, -1, -1, -1)
        x = torch.cat([left, torch.cat([top, pixels], 1)], 2)  # (B, H + 1, W + 1, 3)
        return self.model(x.permute(0, 3, 1, 2))  # (B, H, W, C) -> (B, C, H, W)
