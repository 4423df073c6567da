"""Layer norm, written out, gives the same values."""

import pytest
import torch
from graphs import owned
from torch import nn

from converters.passes.graph import ATEN
from converters.passes.layer_norm import spell_out_layer_norm_


@pytest.mark.parametrize("is_planned", [True, False])
@pytest.mark.parametrize("has_affine", [True, False])
def test_layer_norm_spelled_out(has_affine: bool, is_planned: bool) -> None:
    norm = nn.LayerNorm(24, eps=1e-3, elementwise_affine=has_affine)
    if has_affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    graph = owned(norm, 2, 5, 24)
    assert spell_out_layer_norm_(graph, is_planned=is_planned) == 1
    assert ATEN.layer_norm.default not in {node.target for node in graph.graph.nodes}
    roots = [node for node in graph.graph.nodes if node.target == ATEN.rsqrt.default]
    assert [tuple(node.meta["val"].shape) for node in roots if is_planned] == [(2, 5, 1)] * is_planned
    x = torch.randn(2, 5, 24) * 3 + 2
    assert torch.allclose(graph(x), norm(x), atol=2e-5)


def test_layer_norm_over_two_axes_stays() -> None:
    assert spell_out_layer_norm_(owned(nn.LayerNorm((5, 24)), 2, 5, 24)) == 0
