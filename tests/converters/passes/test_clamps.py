"""Clamps go where saturation does their work, and stay elsewhere."""

from collections.abc import Callable

import pytest
import torch
from graphs import targets
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.passes.clamps import _clamp_limits, drop_implied_clamps_
from converters.passes.graph import ATEN


def test_implied_clamps_go(graph: GraphModule, check_pass: Callable[..., None]) -> None:
    check_pass(drop_implied_clamps_, 3)  # the ReLU and those of two Hardswishes
    assert not {"aten.relu.default", "aten.hardtanh.default"} & set(targets(graph))


def test_a_clamp_that_saturation_does_not_imply_stays(graph: GraphModule) -> None:
    relu = next(node for node in graph.graph.nodes if node.target == ATEN.relu.default)
    (quantize,) = relu.users
    quantize.args = (quantize.args[0], quantize.args[1], 0, *quantize.args[3:])  # this grid has negative numbers
    assert drop_implied_clamps_(graph) == 2  # those of the Hardswishes
    assert ATEN.relu.default in {node.target for node in graph.graph.nodes}


@pytest.mark.parametrize(
    ("clamp", "limits"),
    [(nn.ReLU(), (0.0, float("inf"))), (nn.ReLU6(), (0.0, 6.0)), (nn.Hardtanh(), (-1.0, 1.0)),
     (nn.Hardtanh(-2.0, 3.0), (-2.0, 3.0))],
)  # fmt: skip
def test_limits_of_every_clamp(clamp: nn.Module, limits: tuple[float, float]) -> None:
    exported = torch.export.export(clamp.eval(), (torch.zeros(1, 2),)).module()
    (node,) = [node for node in exported.graph.nodes if str(node.target).startswith("aten.")]
    assert _clamp_limits(node) == limits


def test_float_graphs_keep_their_clamps(small_model: nn.Module, small_example: tuple[Tensor, ...]) -> None:
    from converters.passes.graph import owned_graph

    assert drop_implied_clamps_(owned_graph(small_model, small_example)) == 0
