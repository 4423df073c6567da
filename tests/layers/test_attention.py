"""Attention in three axes equals attention written out, for one image and for many."""

import pytest
import torch

from edge_vit.layers.attention import attend, merge_heads, split_heads, split_rows
from edge_vit.layers.conv_norm import make_linear


@pytest.mark.parametrize("batch", [1, 3])
def test_attend_equals_its_definition(batch):
    heads, queries, keys, dim = 2, 4, 5, 6
    q, k, v = (torch.randn(batch, heads, n, dim) for n in (queries, keys, keys))
    bias = torch.randn(heads, queries, keys)
    want = torch.einsum("bhqk,bhkd->bhqd", (torch.einsum("bhqd,bhkd->bhqk", q, k) + bias).softmax(-1), v)
    got = attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), bias)
    torch.testing.assert_close(got, want.flatten(0, 1), rtol=1e-5, atol=1e-6)


def test_heads_are_neighbouring_channels():
    x = torch.randn(2, 3, 8)
    heads = split_heads(x, 4)
    assert torch.equal(heads.view(2, 4, 3, 2)[1, 2], x[1, :, 4:6]) and torch.equal(merge_heads(heads, 4), x)


def test_split_rows_untangles_heads():
    linear = make_linear(torch.randn(2 * (3 + 1), 5), torch.randn(8))
    x = torch.randn(4, 5)
    wide, narrow = split_rows(linear, 2, [3, 1])
    y = linear(x).view(4, 2, 4)
    torch.testing.assert_close(wide(x).view(4, 2, 3), y[..., :3])
    torch.testing.assert_close(narrow(x).view(4, 2, 1), y[..., 3:])
