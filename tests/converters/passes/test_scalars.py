"""Numbers among integers become int8 constants, numbers among floats become floats."""

from collections.abc import Callable

from graphs import owned, targets
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.passes.clamps import drop_implied_clamps_
from converters.passes.graph import ATEN, is_dequantize, is_quantize
from converters.passes.scalars import float_scalars_, quantize_scalars_


def test_the_networks_own_number_becomes_a_constant(check_pass: Callable[..., None]) -> None:
    check_pass(quantize_scalars_, 1)  # its + 1; those of the Hardswishes go into a clamp


def test_hardswish_becomes_two_operators_on_integers(graph: GraphModule) -> None:
    drop_implied_clamps_(graph)
    assert quantize_scalars_(graph) == 3  # each x + 3, and the network's own + 1
    for node in graph.graph.nodes:
        if node.target == ATEN.add.Tensor and all(is_quantize(user) for user in node.users):
            assert all(is_dequantize(source) for source in node.args)


def test_whole_numbers_among_floats_become_floats(graph: GraphModule, check_pass: Callable[..., None]) -> None:
    check_pass(float_scalars_, 1)
    assert float_scalars_(graph) == 0


def test_numbers_among_integers_stay_whole() -> None:
    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.long() + 2) + (x * 3)

    graph = owned(Both(), 1, 4)
    assert float_scalars_(graph) == 1
    numbers = [node.args[1] for node in graph.graph.nodes if node.target in (ATEN.add.Tensor, ATEN.mul.Tensor)]
    assert [type(number) for number in numbers[:2]] == [int, float] and targets(graph).count("aten.add.Tensor") == 2
