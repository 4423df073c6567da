"""Any network on RGB pixels: normalised in plain sight, for a graph pass to fold (converters/passes/pixels.py)."""

import torch
from torch import Tensor, nn


class OwnPixels(nn.Module):
    """Feed pixels (B, H, W, 3), float, 0 to 255, into a network of normalised images (B, 3, H, W).

    What it gives may be logits (B, classes), an object or dict with `logits`, or a tuple that begins with them.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        means, stds = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (mean, std))
        self.register_buffer("factor", (1.0 / (255.0 * stds)).float(), persistent=False)
        self.register_buffer("shift", (-means / stds).float(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return logits_of(self.model(pixels.permute(0, 3, 1, 2) * self.factor + self.shift))


class LogitsOnly(nn.Module):
    """Give the logits alone of a network that gives more; as a module it is that network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.net(x))


def logits_of(output: object) -> Tensor:
    """Return the logits of what a network gives.

    Raises:
        TypeError: If it gives none.
    """
    if isinstance(output, dict) and "logits" in output:
        output = output["logits"]
    output = getattr(output, "logits", output)
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"it returns {type(output).__name__}; return logits (B, classes)")
    return output
