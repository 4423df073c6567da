"""Positions through a small network: a bias on attention scores, and an embedding added to tokens.

The first follows Swin v2 (arXiv 2111.09883, section 3.3): log-spaced offsets, so that windows of another size still
land on known ground. Both are functions of coordinates alone; `fuse()` makes them constants.

Shapes: `N` tokens, `C` channels, `h` heads. Tokens come in reading order, or window by window (`window_size`).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_vit.layers.windows import grid_coords

_HIDDEN_DIM = 512
_BIAS_RANGE = 16.0


class PositionBias(nn.Module):
    """Return the bias (h, N, N) of attention scores, by the offset of key from query.

    Args:
        grid: Height and width of the grid that the tokens lie on.
        window_size: Side of the windows by which the tokens are ordered; None for reading order.
        num_global: Tokens without a place, ahead of the others; their scores get no bias.
    """

    offsets: Tensor
    index: Tensor

    def __init__(
        self, num_heads: int, grid: tuple[int, int], window_size: int | None = None, num_global: int = 0
    ) -> None:
        super().__init__()
        self.num_global = num_global
        self.mlp = _make_mlp(num_heads)
        offsets, index = log_offsets(grid, window_size)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("index", index, persistent=False)

    def forward(self) -> Tensor:
        table = _BIAS_RANGE * self.mlp(self.offsets).sigmoid()  # (offsets, h)
        bias = table[self.index].permute(2, 0, 1)
        return F.pad(bias, (self.num_global, 0, self.num_global, 0))


class PositionEmbedding(nn.Module):
    """Add an embedding of its place to each token, (B, N, C); arguments as in `PositionBias`."""

    places: Tensor

    def __init__(self, dim: int, grid: tuple[int, int], window_size: int | None = None) -> None:
        super().__init__()
        self.mlp = _make_mlp(dim)
        # Counted from the middle, in halves of the grid.
        half = torch.tensor([max(side // 2, 1) for side in grid])
        self.register_buffer("places", (grid_coords(*grid, window_size) - half) / half, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.places)

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        return AddConstant(self.mlp(self.places))


class AddConstant(nn.Module):
    """Add a constant, (N, C), to tokens (B, N, C)."""

    constant: Tensor

    def __init__(self, constant: Tensor) -> None:
        super().__init__()
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.constant


def log_offsets(grid: tuple[int, int], window_size: int | None) -> tuple[Tensor, Tensor]:
    """Return all offsets on the grid, log-spaced, (offsets, 2), and which of them each pair has, (N, N)."""
    height, width = grid
    offsets = torch.cartesian_prod(torch.arange(1 - height, height), torch.arange(1 - width, width)).float()
    offsets = offsets * 8 / torch.tensor([max(height - 1, 1), max(width - 1, 1)])
    offsets = offsets.sign() * (offsets.abs() + 1).log2() / math.log2(8)
    coords = grid_coords(height, width, window_size)
    pairs = coords[:, None] - coords[None] + torch.tensor([height - 1, width - 1])  # (N, N, 2)
    return offsets, pairs[..., 0] * (2 * width - 1) + pairs[..., 1]


def _make_mlp(out_features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, _HIDDEN_DIM), nn.ReLU(), nn.Linear(_HIDDEN_DIM, out_features, bias=False))
