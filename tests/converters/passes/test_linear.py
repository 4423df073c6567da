"""Linear layers over several axes become layers over rows, on the same grids."""

import torch
from graphs import owned, targets
from torch import nn

from converters.passes import grids
from converters.passes.graph import ATEN, free_batch, owned_graph
from converters.passes.linear import flatten_linear_


def test_rows_give_what_tokens_gave():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.randn(1, 5, 6)
    graph = owned(model, 1, 5, 6)
    assert flatten_linear_(graph) == 2
    assert targets(graph) == [
        "aten.view.default", "aten.linear.default", "aten.relu.default", "aten.view.default", "aten.view.default",
        "aten.linear.default", "aten.view.default",
    ]  # fmt: skip
    assert torch.allclose(graph(x), model(x), atol=1e-6)
    assert flatten_linear_(graph) == 0


def test_a_layer_that_reads_another_is_not_left_out():
    graph = owned(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).eval(), 1, 5, 6)
    assert flatten_linear_(graph) == 2 and targets(graph).count("aten.view.default") == 4


def test_two_axes_stay_as_they_are():
    assert flatten_linear_(owned(nn.Linear(6, 4), 3, 6)) == 0


def test_integers_stay_on_their_grids(small_qdq, small_pictures, torch_logits):
    before, wanted = torch_logits(small_qdq, small_pictures), [one.key for one in grids.read(small_qdq)]
    assert flatten_linear_(small_qdq) == 4  # the head has rows already
    assert [one.key for one in grids.read(small_qdq)] == wanted
    linears = [node for node in small_qdq.graph.nodes if node.target == ATEN.linear.default]
    assert all("nn_module_stack" in node.meta for node in linears)
    assert (torch_logits(small_qdq, small_pictures) == before).all()


def test_the_batch_stays_open():
    model = nn.Linear(6, 4).eval()
    graph = owned_graph(model, (torch.zeros(2, 5, 6),), is_free_batch=True)
    assert flatten_linear_(graph) == 1 and free_batch()[0].keys() == {0}
    x = torch.randn(7, 5, 6)
    assert torch.allclose(graph(x), model(x), atol=1e-6)
