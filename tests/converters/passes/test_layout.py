"""Axes are turned as XNNPACK wants them; values stay."""

from collections.abc import Callable

import pytest
import torch
from graphs import owned, targets
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.passes.graph import ATEN
from converters.passes.layout import average_over_planes_, copy_when_turning_, split_to_slices_, turn_once_


def test_int8_mean_split_and_turns_keep_the_function(graph: GraphModule, check_pass: Callable[..., None]) -> None:
    turns = [target for target in targets(graph) if target in ("aten.transpose.int", "aten.permute.default")]
    check_pass(copy_when_turning_, len(turns))
    assert len(turns) == 3 and targets(graph).count("aten.permute_copy.default") == len(turns)
    check_pass(split_to_slices_, 1)
    check_pass(average_over_planes_, 1)


@pytest.mark.parametrize(("axes", "keep"), [((1, 2), False), ((1, 2), True), ((2, 3), False), ((-2, -3), False)])
def test_mean_over_two_axes(axes: tuple[int, int], keep: bool) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(axes, keepdim=keep)

    graph = owned(Mean(), 1, 3, 4, 5)
    assert average_over_planes_(graph) == 1
    (mean,) = [node for node in graph.graph.nodes if node.target == ATEN.mean.dim]
    assert list(mean.args[1:]) == [[2, 3], True]
    x = torch.randn(1, 3, 4, 5)
    assert torch.allclose(graph(x), x.mean(axes, keepdim=keep), atol=1e-6)
    assert graph(x).shape == x.mean(axes, keepdim=keep).shape


def test_other_means_stay() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 3)) + x.mean(-1).mean(1)

    assert average_over_planes_(owned(Mean(), 1, 3, 4, 5)) == 0


def test_heads_split_and_keys_transposed_at_once() -> None:
    class Keys(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            heads = x.view(1, 6, 2, 4).transpose(1, 2).reshape(2, 6, 4)
            return torch.bmm(heads.transpose(1, 2), torch.ones(2, 6, 3)) + x.view(2, 4, 6).transpose(1, 2).sum()

    graph = owned(Keys(), 1, 6, 8)
    assert turn_once_(graph) == 0
    assert copy_when_turning_(graph) == 3
    assert turn_once_(graph) == 1
    assert [n.args[1] for n in graph.graph.nodes if n.target == ATEN.permute_copy.default] == [[0, 2, 3, 1], [0, 2, 1]]
    x = torch.randn(1, 6, 8)
    assert torch.allclose(graph(x), Keys()(x), atol=1e-5)


def test_a_turn_that_others_read_is_not_joined() -> None:
    class Keys(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            heads = x.view(1, 6, 2, 4).transpose(1, 2).reshape(2, 6, 4)
            return torch.bmm(heads, heads.transpose(1, 2))

    graph = owned(Keys(), 1, 6, 8)
    copy_when_turning_(graph)
    assert turn_once_(graph) == 0
    x = torch.randn(1, 6, 8)
    assert torch.allclose(graph(x), Keys()(x), atol=1e-5)


def test_uneven_and_negative_splits() -> None:
    class Split(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b, c = x.chunk(3, -1)
            d, e = x.split([1, 6], 1)
            return a.sum() + 2 * b.sum() + 3 * c.sum() + 5 * d.sum() + 7 * e.sum()

    graph = owned(Split(), 2, 7)
    assert split_to_slices_(graph) == 2
    x = torch.randn(2, 7)
    assert torch.equal(graph(x), Split()(x))
