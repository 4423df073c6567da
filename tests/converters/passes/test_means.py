"""Means over tokens give the same as means over a plane."""

import pytest
import torch
from graphs import owned
from torch import Tensor, nn

from converters.passes.means import plane_means_


class Mean(nn.Module):
    def __init__(self, axis: int, keep: bool) -> None:
        super().__init__()
        self.axis, self.keep = axis, keep

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axis, keepdim=self.keep)


@pytest.mark.parametrize(("axis", "keep", "changes"), [(1, False, 1), (-2, True, 1), (2, False, 0)])
def test_mean_over_tokens(axis: int, keep: bool, changes: int) -> None:
    module = Mean(axis, keep)
    graph = owned(module, 2, 5, 6)
    assert plane_means_(graph) == changes
    x = torch.randn(2, 5, 6)
    assert graph(x).shape == module(x).shape and torch.allclose(graph(x), module(x), atol=1e-6)
