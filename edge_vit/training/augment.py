"""Random views of training images; every random number comes from a generator that the caller seeds.

Shapes: `B` batch, `H`/`W` image size; images are uint8 (3, H, W) until `BatchAugment` makes them float.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vit.training.config import AugmentConfig


def random_resized_crop(image: Tensor, resolution: int, min_scale: float, generator: torch.Generator) -> Tensor:
    """Cut a random part of (3, H, W) with aspect 3/4 to 4/3, resize it with antialiasing, flip it half of the time.

    Returns:
        uint8 (3, resolution, resolution).
    """
    _, height, width = image.shape
    scale, log_aspect, x, y, flip = torch.rand(5, generator=generator).tolist()
    area = (min_scale + (1.0 - min_scale) * scale) * height * width
    aspect = math.exp((2.0 * log_aspect - 1.0) * math.log(4.0 / 3.0))
    crop_w = min(width, max(1, round((area * aspect) ** 0.5)))
    crop_h = min(height, max(1, round((area / aspect) ** 0.5)))
    left, top = int(x * (width - crop_w + 1)), int(y * (height - crop_h + 1))
    crop = image[None, :, top : top + crop_h, left : left + crop_w]
    view = F.interpolate(crop, size=(resolution, resolution), mode="bilinear", antialias=True)[0]
    return view.flip(-1) if flip < 0.5 else view


class BatchAugment:
    """Normalise a uint8 batch and vary it as a whole, on whatever device it lies."""

    def __init__(self, config: AugmentConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.config = config
        self.mean, self.std = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> float32 of the same shape."""
        return (images.float() / 255.0 - self.mean.to(images.device)) / self.std.to(images.device)

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Vary images (B, 3, H, W) uint8 and their target distributions (B, classes)."""
        x = images.float() / 255.0
        if self.config.color > 0.0:
            x = _jitter_color(x, self.config.color, generator)
        x = (x - self.mean.to(x.device)) / self.std.to(x.device)
        if self.config.erase > 0.0:
            x = _erase(x, self.config.erase, generator)
        if float(torch.rand((), generator=generator)) < self.config.mix_prob:
            x, targets = self._mix(x, targets, generator)
        return x, targets

    def _mix(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        config = self.config
        if config.mixup == 0.0 and config.cutmix == 0.0:
            return x, targets
        use_cutmix = config.mixup == 0.0 or (config.cutmix > 0.0 and float(torch.rand((), generator=generator)) < 0.5)
        share = _beta(config.cutmix if use_cutmix else config.mixup, generator)
        other, other_targets = x.flip(0), targets.flip(0)
        if use_cutmix:
            height, width = x.shape[2:]
            cut_h, cut_w = (int(side * math.sqrt(1.0 - share)) for side in (height, width))
            top = int(torch.randint(0, height - cut_h + 1, (), generator=generator))
            left = int(torch.randint(0, width - cut_w + 1, (), generator=generator))
            x = x.clone()
            x[:, :, top : top + cut_h, left : left + cut_w] = other[:, :, top : top + cut_h, left : left + cut_w]
            share = 1.0 - cut_h * cut_w / (height * width)
        else:
            x = share * x + (1.0 - share) * other
        return x, share * targets + (1.0 - share) * other_targets


def _beta(alpha: float, generator: torch.Generator) -> float:
    # torch's Beta takes no generator; a quotient of gammas does (Marsaglia and Tsang need rejection, this does not
    # matter here because torch._standard_gamma takes one).
    a, b = torch._standard_gamma(torch.full((2,), alpha), generator=generator).tolist()
    return a / (a + b) if a + b > 0.0 else 0.5


def _jitter_color(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    factors = 1.0 + strength * (2.0 * torch.rand((3, x.shape[0], 1, 1, 1), generator=generator).to(x.device) - 1.0)
    luma = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)
    x = x * factors[0]  # brightness
    grey = (x * luma).sum(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    # Contrast, then saturation, written as one blend of the image, its grey version and its mean.
    contrast, saturation = factors[1], factors[2]
    x = contrast * (saturation * x + (1.0 - saturation) * grey) + (1.0 - contrast) * mean
    return x.clamp_(0.0, 1.0)


def _erase(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    height, width = x.shape[2:]
    for i in torch.nonzero(torch.rand(x.shape[0], generator=generator) < probability).flatten().tolist():
        share, log_aspect, u, v = torch.rand(4, generator=generator).tolist()
        area = (0.02 + 0.2 * share) * height * width
        aspect = math.exp((2.0 * log_aspect - 1.0) * math.log(3.0))
        cut_h, cut_w = min(height, round((area * aspect) ** 0.5)), min(width, round((area / aspect) ** 0.5))
        top, left = int(u * (height - cut_h + 1)), int(v * (width - cut_w + 1))
        noise = torch.randn((3, cut_h, cut_w), generator=generator).to(x.device)
        x[i, :, top : top + cut_h, left : left + cut_w] = noise
    return x
