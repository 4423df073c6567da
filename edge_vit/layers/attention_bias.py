"""Learned attention bias: one scalar per head and per |dy|, |dx| offset of key from query (LeViT, section 4.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionBias(nn.Module):
    """Hold the offset table and spread it to (heads, queries, keys).

    Args:
        num_heads: Attention heads.
        resolution: Side of the square key grid.
        stride: Queries lie on every `stride`-th row and column of the key grid.
    """

    index: Tensor

    def __init__(self, num_heads: int, resolution: int, stride: int = 1) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(num_heads, resolution * resolution))
        self.register_buffer("index", offset_index(resolution, stride), persistent=False)

    def forward(self) -> Tensor:
        """Return the bias, (heads, queries, keys)."""
        return self.table[:, self.index]


def offset_index(resolution: int, stride: int) -> Tensor:
    """Return |dy| * resolution + |dx| for every query and key, (queries, keys), int64."""
    keys = torch.cartesian_prod(torch.arange(resolution), torch.arange(resolution))
    coarse = torch.arange(0, resolution, stride)
    queries = torch.cartesian_prod(coarse, coarse)
    offset = (queries[:, None] - keys[None]).abs()  # (queries, keys, 2)
    return offset[..., 0] * resolution + offset[..., 1]


def resize_bias_table(table: Tensor, resolution: int) -> Tensor:
    """Resample a table (heads, R * R) for a grid of side `resolution`; unchanged when R is equal.

    Offset 0 stays at 0 and the largest offset at the largest, because an offset means a share of the picture.
    """
    num_heads, size = table.shape
    side = round(size**0.5)
    if side * side != size:
        raise ValueError(f"attention bias table has {size} offsets; allowed: a square number")
    if side == resolution:
        return table
    grid = table.float().view(1, num_heads, side, side)
    grid = F.interpolate(grid, size=(resolution, resolution), mode="bicubic", align_corners=True)
    return grid.view(num_heads, resolution * resolution).to(table.dtype)
