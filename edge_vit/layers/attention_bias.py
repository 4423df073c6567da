"""Learned attention bias: one scalar per head and per |dy|, |dx| offset of key from query (LeViT, section 4.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = int | tuple[int, int]  # the side of a square, or height and width


class AttentionBias(nn.Module):
    """Hold the offset table and spread it to (heads, queries, keys).

    Args:
        num_heads: Attention heads.
        resolution: Side of the key grid, or its height and width.
        stride: Queries lie on every `stride`-th row and column of the key grid.
    """

    index: Tensor

    def __init__(self, num_heads: int, resolution: Grid, stride: int = 1) -> None:
        super().__init__()
        self.grid = height, width = _sides(resolution)
        self.table = nn.Parameter(torch.zeros(num_heads, height * width))
        self.register_buffer("index", offset_index(resolution, stride), persistent=False)

    @property
    def is_square(self) -> bool:
        return self.grid[0] == self.grid[1]

    def forward(self) -> Tensor:
        """Return the bias, (heads, queries, keys)."""
        return self.table[:, self.index]


def offset_index(resolution: Grid, stride: int) -> Tensor:
    """Return |dy| * width + |dx| for every query and key, (queries, keys), int64."""
    height, width = _sides(resolution)
    keys = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    queries = torch.cartesian_prod(torch.arange(0, height, stride), torch.arange(0, width, stride))
    offset = (queries[:, None] - keys[None]).abs()  # (queries, keys, 2)
    return offset[..., 0] * width + offset[..., 1]


def resize_bias_table(table: Tensor, resolution: Grid) -> Tensor:
    """Resample the table of a square, (heads, R * R), for another grid; unchanged when it is that square.

    Offset 0 stays at 0 and the largest offset at the largest, because an offset means a share of the picture.
    """
    num_heads, size = table.shape
    side = round(size**0.5)
    if side * side != size:
        raise ValueError(f"attention bias table has {size} offsets; allowed: a square number")
    if (side, side) == _sides(resolution):
        return table
    grid = table.float().view(1, num_heads, side, side)
    grid = F.interpolate(grid, size=_sides(resolution), mode="bicubic", align_corners=True)
    return grid.flatten(2)[0].to(table.dtype)


def _sides(resolution: Grid) -> tuple[int, int]:
    return (resolution, resolution) if isinstance(resolution, int) else resolution
