"""Windows hold the pixels that their place says, and go back where they came from."""

import pytest
import torch

from edge_vit.layers.windows import merge_windows, partition_windows


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
