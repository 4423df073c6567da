"""Stochastic depth (arXiv 1603.09382), per sample."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a whole residual branch with probability `drop_prob` while training; scale the rest to keep the mean."""

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0.0:
            return x
        keep_prob = 1.0 - self.drop_prob
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        return x * (torch.rand(shape, dtype=x.dtype, device=x.device) < keep_prob) / keep_prob

    def fuse(self) -> nn.Identity:
        return nn.Identity()
