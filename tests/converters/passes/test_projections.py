"""Divided linear layers become several, however the division is written."""

import pytest
import torch
from graphs import owned, targets
from torch import Tensor, nn

from converters.passes.graph import free_batch
from converters.passes.projections import split_projections_

B, N, H, D = 2, 5, 3, 4


class Divided(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.qkv, self.way = nn.Linear(6, 3 * H * D, bias=way != "no bias"), way

    def forward(self, x: Tensor) -> Tensor:
        y = self.qkv(x)
        if self.way == "heads interleaved":  # as LeViT: q, k, v within each head, of other sizes
            q, k, v = y.view(x.shape[0], N, H, 3 * D).split([2, 2, 3 * D - 4], dim=3)
            return q.permute(0, 2, 1, 3) @ k.permute(0, 2, 3, 1) @ v.permute(0, 2, 1, 3)
        if self.way == "halves":  # gated units
            a, b = y.chunk(2, -1)
            return a * b.sigmoid()
        if self.way == "read as a whole":
            return y[..., :4] * y.mean()
        parts = y.reshape(x.shape[0], N, 3, H, D).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        return q @ k.transpose(-2, -1) @ v


@pytest.mark.parametrize("is_free", [False, True])
@pytest.mark.parametrize(
    ("way", "layers"),
    [("stacked", 3), ("no bias", 3), ("heads interleaved", 3), ("halves", 2), ("read as a whole", 1)],
)
def test_a_divided_layer_becomes_several(way: str, layers: int, is_free: bool) -> None:
    module = Divided(way)
    if is_free:
        shapes = free_batch()
        graph = torch.export.export(module, (torch.zeros(B, N, 6),), dynamic_shapes=shapes).module()
    else:
        graph = owned(module, B, N, 6)
    assert split_projections_(graph) == (layers > 1)
    found = targets(graph)
    assert found.count("aten.linear.default") == layers
    assert not (layers > 1 and {"aten.select.int", "aten.chunk.default", "aten.split_with_sizes.default"} & set(found))
    for batch in (B, 4) if is_free else (B,):
        x = torch.randn(batch, N, 6)
        assert torch.allclose(graph(x), module(x), atol=1e-4)
