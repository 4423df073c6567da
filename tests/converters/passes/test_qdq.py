"""Pairs of quantize and dequantize operators, dropped and moved out."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.passes.graph import is_dequantize, is_quantize, owned_graph
from converters.passes.qdq import drop_repeated_qdq_, take_integer_input_


def test_requantizing_on_the_same_grid_is_dropped(graph: GraphModule) -> None:
    assert drop_repeated_qdq_(graph) == 0
    node = next(node for node in graph.graph.nodes if is_dequantize(node) and is_quantize(node.args[0]))
    with graph.graph.inserting_after(node):
        again = graph.graph.call_function(node.args[0].target, (node, *node.args[1:]))
    with graph.graph.inserting_after(again):
        real = graph.graph.call_function(node.target, (again, *node.args[1:]))
    node.replace_all_uses_with(real, delete_user_cb=lambda user: user is not again)
    graph.recompile()
    assert drop_repeated_qdq_(graph) == 1


def test_integer_input(graph: GraphModule, small_qdq: GraphModule, small_pictures: np.ndarray) -> None:
    assert take_integer_input_(graph) == (1.0, -128)
    for picture in torch.from_numpy(small_pictures).float():
        integers = (picture - 128).to(torch.int8)[None]
        assert torch.equal(graph(integers), small_qdq(picture[None]))


def test_float_input_stays_where_floats_read_it(small_model: nn.Module, small_example: tuple[Tensor, ...]) -> None:
    assert take_integer_input_(owned_graph(small_model, small_example)) is None


def test_an_input_on_two_grids_stays(graph: GraphModule) -> None:
    (source,) = [node for node in graph.graph.nodes if node.op == "placeholder"]
    quantize = next(iter(source.users))
    with graph.graph.inserting_after(quantize):
        other = graph.graph.call_function(quantize.target, (source, 0.5, *quantize.args[2:]))
    assert list(source.users) == [quantize, other] and take_integer_input_(graph) is None
