"""Backbones: every stage's map instead of logits, as detectors and segmenters take them.

Shapes: `B` batch, `C` channels, `H`/`W` map, `N = H * W` tokens.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureInfo:
    """One output of a backbone: its channels, and how many input pixels one of its pixels spans."""

    channels: int
    stride: int


class FeatureModel(nn.Module):
    """Map images (B, 3, H, W) to one map a stage, [(B, C, H / stride, W / stride), ...], finest first.

    Where a stride does not divide the image, sides are rounded up. `fuse()` works as on classifiers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.config: Any = model.config
        self.stem: nn.Module = model.stem  # type: ignore[assignment]
        self.stages: nn.Sequential = model.stages  # type: ignore[assignment]

    @property
    def feature_info(self) -> list[FeatureInfo]:
        """What comes out, in the order of the outputs."""
        pairs = zip(self.config.channels, self.config.strides, strict=True)
        return [FeatureInfo(channels=channels, stride=stride) for channels, stride in pairs]

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class TokenFeatureModel(FeatureModel):
    """The same for families whose stages work on tokens of a grid."""

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x).flatten(2).transpose(1, 2), []  # (B, C, H, W) -> (B, N, C)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps.append(x.transpose(1, 2).unflatten(2, self.config.grid(i)))  # (B, N, C) -> (B, C, H, W)
        return maps
