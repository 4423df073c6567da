"""What every pass relies on: a graph of one's own, and a clean one afterwards."""

import pytest
import torch
from graphs import owned, targets
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.passes.graph import add_constant_, finish_, get_tensor, is_qdq_graph, owned_graph, shape_of


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training mode; call eval\(\) and fuse\(\) first"):
        owned_graph(nn.Linear(2, 2), (torch.zeros(1, 2),))


def test_float_and_int8_graphs_are_told_apart(
    small_model: nn.Module, small_qdq: GraphModule, small_example: tuple[Tensor, ...]
) -> None:
    assert is_qdq_graph(small_qdq) and not is_qdq_graph(small_model)
    assert not is_qdq_graph(owned_graph(small_model, small_example))


@pytest.mark.parametrize("is_exported", [False, True])
def test_an_owned_graph_shares_no_tensor_with_its_module(is_exported: bool) -> None:
    module: nn.Module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    if is_exported:
        module = owned(module, 1, 4)
    graph = owned_graph(module, (torch.zeros(1, 4),))
    addresses = {tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    assert not addresses & {tensor.data_ptr() for tensor in (*graph.parameters(), *graph.buffers())}


def test_operators_without_effect_are_gone() -> None:
    class Idle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5, self.training).detach() + 1

    assert targets(owned(Idle(), 1, 4)) == ["aten.add.Tensor"]


def test_constants_get_new_names_and_unread_ones_leave() -> None:
    graph = owned(nn.Linear(3, 2), 1, 3)
    (linear,) = [node for node in graph.graph.nodes if node.op == "call_function"]
    first = add_constant_(graph, linear, torch.ones(2, 3))
    second = add_constant_(graph, linear, torch.zeros(2))
    assert first.target != second.target and torch.equal(get_tensor(graph, second), torch.zeros(2))
    linear.args = (linear.args[0], first, second)
    assert finish_(graph, 1) == 1
    assert [name for name, _ in graph.named_buffers()] == [first.target, second.target]
    assert not list(graph.parameters())
    assert torch.equal(graph(torch.ones(1, 3)), torch.full((1, 2), 3.0))


def test_shapes_are_seen_through_qdq_pairs(graph: GraphModule) -> None:
    (source,) = [node for node in graph.graph.nodes if node.op == "placeholder"]
    (quantize,) = source.users
    (dequantize,) = quantize.users
    assert "val" not in dequantize.meta and shape_of(dequantize) == shape_of(source) == (1, 16, 16, 3)
    assert shape_of(3.0) is None
