"""Operators that write into what they read give something new."""

import pytest
import torch
from graphs import owned, targets
from torch import Tensor, nn

from converters.passes.in_place import without_in_place_


class Written(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2.0
        nn.functional.relu_(y)
        y += x
        return y * y


def test_in_place_operators_give_new_values() -> None:
    graph = owned(Written(), 2, 5)
    assert without_in_place_(graph) == 2
    assert not any("_." in target for target in targets(graph))
    x = torch.randn(2, 5)
    assert torch.equal(graph(x), Written()(x))


class Part(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2.0
        y[:, 0].mul_(3.0)
        return y


def test_a_part_that_is_read_as_a_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="writes into a part"):
        without_in_place_(owned(Part(), 2, 5))
