"""The offset table: which entry goes where, and how it follows the resolution."""

import pytest
import torch

from edge_vit.layers.attention_bias import AttentionBias, offset_index, resize_bias_table


@pytest.mark.parametrize("stride", [1, 2])
def test_entry_is_the_absolute_offset(stride):
    index = offset_index(5, stride)
    coarse = list(range(0, 5, stride))
    assert index.shape == (len(coarse) ** 2, 25)
    for query, (qy, qx) in enumerate((y, x) for y in coarse for x in coarse):
        for key, (ky, kx) in enumerate((y, x) for y in range(5) for x in range(5)):
            assert index[query, key] == abs(qy - ky) * 5 + abs(qx - kx)


def test_bias_spreads_the_table():
    bias = AttentionBias(num_heads=2, resolution=3)
    bias.table.data.copy_(torch.arange(18.0).view(2, 9))
    assert torch.equal(bias()[1, 0], torch.arange(9.0, 18.0))
    assert set(bias.state_dict()) == {"table"}


def test_resize_is_exact_when_equal():
    table = torch.randn(4, 49)
    assert resize_bias_table(table, 7) is table


def test_resize_keeps_the_ends_and_a_smooth_table():
    offsets = torch.linspace(0, 1, 10)
    table = (offsets[:, None] + 2 * offsets[None]).flatten()[None]
    got = resize_bias_table(table, 14).view(14, 14)
    finer = torch.linspace(0, 1, 14)
    torch.testing.assert_close(got, finer[:, None] + 2 * finer[None], rtol=0, atol=0.04)
    # Bicubic at the border repeats the edge, hence the tolerance; the corners are exact.
    assert abs(got[0, 0] - 0) < 1e-6 and abs(got[-1, -1] - 3) < 1e-5


def test_table_must_be_square():
    with pytest.raises(ValueError, match="has 12 offsets; allowed: a square number"):
        resize_bias_table(torch.zeros(2, 12), 4)
