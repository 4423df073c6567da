"""Cut a map into square windows and put it together again, with no tensor of more than four axes.

Channels lie last: rows of a window are then contiguous, and one transposition of (B * nH, S, nW, S * C) does it all.
Shapes: `S` side of a window, `nH`/`nW` windows down and across.
"""

from torch import Tensor


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
