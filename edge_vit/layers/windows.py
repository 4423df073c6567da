"""Cut a map into square windows and put it together again, with no tensor of more than four axes.

Channels lie last: rows of a window are then contiguous, and one transposition of (B * nH, S, nW, S * C) does it all.
Shapes: `S` side of a window, `nH`/`nW` windows down and across.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class WindowGeometry:
    """Where the windows of a map lie: their side, their number, and the padding right and below, fixed from the start.

    Args:
        grid: Height and width of the map.
        window_size: Side of a window; smaller maps are one window.
    """

    def __init__(self, grid: tuple[int, int], window_size: int) -> None:
        self.grid, self.size = grid, min(window_size, *grid)
        self.padded = (grid[0] + -grid[0] % self.size, grid[1] + -grid[1] % self.size)
        self.down, self.across = self.padded[0] // self.size, self.padded[1] // self.size

    def split(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * windows, S, S, C)."""
        return self.partition(self.pad(x))

    def join(self, x: Tensor) -> Tensor:
        """(B * windows, S, S, C) -> (B, H, W, C)."""
        if self.down * self.across > 1:
            x = merge_windows(x, *self.padded)
        return x if self.padded == self.grid else x[:, : self.grid[0], : self.grid[1]]

    def partition(self, x: Tensor) -> Tensor:
        """Split a map that is padded already."""
        return partition_windows(x, self.size) if self.down * self.across > 1 else x

    def pad(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, nH * S, nW * S, C), zeros right and below."""
        below, right = self.padded[0] - self.grid[0], self.padded[1] - self.grid[1]
        return F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


def partition_windows(x: Tensor, size: int) -> Tensor:
    """(B, H, W, C) -> (B * nH * nW, S, S, C); H and W must be multiples of `size`."""
    batch, height, width, channels = x.shape
    down, across = height // size, width // size
    x = x.reshape(batch * down, size, across, size * channels).transpose(1, 2)
    return x.reshape(batch * down * across, size, size, channels)


def merge_windows(x: Tensor, height: int, width: int) -> Tensor:
    """(B * nH * nW, S, S, C) -> (B, H, W, C): the inverse of `partition_windows`."""
    size, channels = x.shape[1], x.shape[3]
    down, across = height // size, width // size
    x = x.reshape(-1, across, size, size * channels).transpose(1, 2)
    return x.reshape(-1, down * size, across * size, channels)


def grid_coords(height: int, width: int, window_size: int | None = None) -> Tensor:
    """Return row and column of every cell, (H * W, 2), int64, in reading order, or window by window."""
    coords = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    if window_size is not None:
        coords = partition_windows(coords.view(1, height, width, 2), window_size).reshape(-1, 2)
    return coords
