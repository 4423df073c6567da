"""Windows hold the pixels that their place says, and go back where they came from."""

import pytest
import torch

from edge_vit.layers.windows import WindowGeometry, merge_windows, partition_windows


@pytest.mark.parametrize(("height", "width", "size"), [(14, 14, 7), (6, 9, 3), (5, 5, 5)])
def test_windows_are_slices_in_reading_order_image_by_image(height, width, size):
    x = torch.randn(2, height, width, 3)
    windows = partition_windows(x, size)
    slices = [
        image[top : top + size, left : left + size]
        for image in x
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]
    assert torch.equal(windows, torch.stack(slices))
    assert torch.equal(merge_windows(windows, height, width), x)


@pytest.mark.parametrize(
    ("grid", "size", "padded", "num_windows"),
    [
        ((14, 14), 7, (14, 14), 4),
        ((16, 16), 7, (21, 21), 9),
        ((7, 7), 7, (7, 7), 1),
        ((4, 4), 4, (4, 4), 1),
        ((8, 15), 7, (14, 21), 6),
    ],
)
def test_padding_lies_right_and_below(grid, size, padded, num_windows):
    geometry = WindowGeometry(grid, 7)
    assert (geometry.size, geometry.padded) == (size, padded)
    x = torch.rand(2, *grid, 3) + 1
    windows = geometry.split(x)
    assert windows.shape == (2 * num_windows, size, size, 3)
    assert torch.equal(windows[0], x[0, :size, :size]) and torch.equal(geometry.join(windows), x)
    below, right = padded[0] - grid[0], padded[1] - grid[1]
    if below:
        assert not windows[num_windows - 1, -below:].any() and not windows[num_windows - 1, :, -right:].any()
    torch.testing.assert_close(windows.sum(), x.sum())  # the padding is zero
