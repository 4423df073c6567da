"""Constants become what their quantize operators make of them."""

from collections.abc import Callable

import pytest
import torch
from graphs import owned
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from converters.passes.constants import fold_quantized_constants_, settle_constants_
from converters.passes.graph import get_tensor, is_quantize
from converters.passes.qdq import add_qdq_

# Seven layers, the border's two sides, attention bias.
NUM_CONSTANTS = 10


def test_folded_weights_are_integers_and_the_floats_are_gone(
    graph: GraphModule, check_pass: Callable[..., None]
) -> None:
    check_pass(fold_quantized_constants_, NUM_CONSTANTS)
    kinds = [tensor.dtype for _, tensor in [*graph.named_parameters(), *graph.named_buffers()] if tensor.dim() > 1]
    assert set(kinds) == {torch.int8}
    assert fold_quantized_constants_(graph) == 0


def test_settled_constants_lie_on_their_grid(graph: GraphModule, check_pass: Callable[..., None]) -> None:
    check_pass(settle_constants_, NUM_CONSTANTS)
    for node in graph.graph.nodes:
        if is_quantize(node) and node.args[0].op == "get_attr":
            values = [get_tensor(graph, a) if isinstance(a, Node) else a for a in node.args]
            dequantize = next(iter(node.users)).target
            assert torch.equal(dequantize(node.target(*values), *values[1:]), values[0])


class Twice(nn.Module):
    """One constant, under two names, that two operators read."""

    def __init__(self) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.tensor([0.2, 0.49, -1.3, 2.6]))
        self.factor = self.added

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.added) * self.factor


@pytest.mark.parametrize("pass_", [settle_constants_, fold_quantized_constants_])
def test_a_constant_on_two_grids_is_rounded_once_for_each(pass_: Callable[[GraphModule], int]) -> None:
    from torch.ao.quantization.fx import _decomposed  # noqa: F401  # defines the operators

    graph = owned(Twice(), 1, 4)
    dequantize = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    for node, scale in zip([n for n in graph.graph.nodes if n.op == "call_function"], (0.5, 0.3), strict=True):
        with graph.graph.inserting_before(node):
            rounded = add_qdq_(graph, node.args[1], (scale, 0, -128, 127, torch.int8), dequantize)
        node.args = (node.args[0], rounded)
    graph.recompile()
    x = torch.arange(4.0)[None]
    expected = (x + torch.tensor([0.0, 0.5, -1.5, 2.5])) * torch.tensor([0.3, 0.6, -1.2, 2.7])
    assert torch.allclose(graph(x), expected)
    assert pass_(graph) == 2
    assert torch.allclose(graph(x), expected)
