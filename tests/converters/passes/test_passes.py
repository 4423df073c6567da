"""Every pass keeps the function, changes what it is for, and leaves its input alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.passes import graph as passes
from converters.passes.graph import ATEN

PASSES = ("fold_quantized_constants", "drop_implied_clamps", "quantize_scalars", "float_scalars", "split_to_slices",
          "average_over_planes", "copy_when_turning")  # fmt: skip


def targets(graph: GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def owned(function: nn.Module, *shape: int) -> GraphModule:
    return passes.owned_graph(function.eval(), (torch.zeros(*shape),))


@pytest.mark.parametrize("name", PASSES)
def test_int8_graph_computes_the_same(
    name: str, small_qdq: GraphModule, small_example: tuple[Tensor, ...], small_pictures: object
) -> None:
    graph = passes.owned_graph(small_qdq, small_example)
    before = targets(small_qdq)
    expected_changes = {"quantize_scalars": 1, "drop_implied_clamps": 3, "split_to_slices": 1, "average_over_planes": 1}
    changed = getattr(passes, name)(graph)
    assert changed == expected_changes.get(name, changed)
    if name not in ("float_scalars",):
        assert changed
    assert targets(small_qdq) == before
    for picture in torch.from_numpy(small_pictures).float():  # type: ignore[arg-type]
        assert torch.allclose(graph(picture[None]), small_qdq(picture[None]), rtol=0, atol=1e-6)


def test_hardswish_becomes_two_operators_on_integers(small_qdq: GraphModule, small_example: tuple[Tensor, ...]) -> None:
    graph = passes.owned_graph(small_qdq, small_example)
    passes.drop_implied_clamps(graph)
    assert passes.quantize_scalars(graph) == 3  # each x + 3, and the network's own + 1
    for node in graph.graph.nodes:
        if node.target == ATEN.add.Tensor and all(passes.is_quantize(user) for user in node.users):
            assert all(passes.is_dequantize(source) for source in node.args)


def test_folded_weights_are_integers_and_the_floats_are_gone(
    small_qdq: GraphModule, small_example: tuple[Tensor, ...]
) -> None:
    graph = passes.owned_graph(small_qdq, small_example)
    assert passes.fold_quantized_constants(graph) == 10  # seven layers, the border's two sides, attention bias
    kinds = [tensor.dtype for _, tensor in [*graph.named_parameters(), *graph.named_buffers()] if tensor.dim() > 1]
    assert set(kinds) == {torch.int8}
    assert passes.fold_quantized_constants(graph) == 0


def test_requantizing_on_the_same_grid_is_dropped(small_qdq: GraphModule, small_example: tuple[Tensor, ...]) -> None:
    graph = passes.owned_graph(small_qdq, small_example)
    assert passes.drop_repeated_qdq(graph) == 0
    node = next(node for node in graph.graph.nodes if passes.is_dequantize(node) and passes.is_quantize(node.args[0]))
    with graph.graph.inserting_after(node):
        again = graph.graph.call_function(node.args[0].target, (node, *node.args[1:]))
    with graph.graph.inserting_after(again):
        real = graph.graph.call_function(node.target, (again, *node.args[1:]))
    node.replace_all_uses_with(real, delete_user_cb=lambda user: user is not again)
    graph.recompile()
    assert passes.drop_repeated_qdq(graph) == 1


def test_integer_input(small_qdq: GraphModule, small_example: tuple[Tensor, ...], small_pictures: object) -> None:
    graph = passes.owned_graph(small_qdq, small_example)
    assert passes.take_integer_input(graph) == (1.0, -128)
    for picture in torch.from_numpy(small_pictures).float():  # type: ignore[arg-type]
        integers = (picture - 128).to(torch.int8)[None]
        assert torch.equal(graph(integers), small_qdq(picture[None]))


def test_float_input_stays_where_floats_read_it(small_model: nn.Module, small_example: tuple[Tensor, ...]) -> None:
    graph = passes.owned_graph(small_model, small_example)
    assert passes.take_integer_input(graph) is None
    assert not passes.is_qdq_graph(graph)


@pytest.mark.parametrize(("axes", "keep"), [((1, 2), False), ((1, 2), True), ((2, 3), False), ((-2, -3), False)])
def test_mean_over_two_axes(axes: tuple[int, int], keep: bool) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(axes, keepdim=keep)

    graph = owned(Mean(), 1, 3, 4, 5)
    assert passes.average_over_planes(graph) == 1
    (mean,) = [node for node in graph.graph.nodes if node.target == ATEN.mean.dim]
    assert list(mean.args[1:]) == [[2, 3], True]
    x = torch.randn(1, 3, 4, 5)
    assert torch.allclose(graph(x), x.mean(axes, keepdim=keep), atol=1e-6)
    assert graph(x).shape == x.mean(axes, keepdim=keep).shape


def test_other_means_stay() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 3)) + x.mean(-1).mean(1)

    assert passes.average_over_planes(owned(Mean(), 1, 3, 4, 5)) == 0


@pytest.mark.parametrize("has_affine", [True, False])
def test_layer_norm_spelled_out(has_affine: bool) -> None:
    norm = nn.LayerNorm(24, eps=1e-3, elementwise_affine=has_affine)
    if has_affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    graph = owned(norm, 2, 5, 24)
    assert passes.spell_out_layer_norm(graph) == 1
    assert ATEN.layer_norm.default not in {node.target for node in graph.graph.nodes}
    x = torch.randn(2, 5, 24) * 3 + 2
    assert torch.allclose(graph(x), norm(x), atol=2e-5)


def test_layer_norm_over_two_axes_stays() -> None:
    assert passes.spell_out_layer_norm(owned(nn.LayerNorm((5, 24)), 2, 5, 24)) == 0


def test_heads_split_and_keys_transposed_at_once(small_qdq: GraphModule, small_example: tuple[Tensor, ...]) -> None:
    class Keys(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            heads = x.view(1, 6, 2, 4).transpose(1, 2).reshape(2, 6, 4)
            return torch.bmm(heads.transpose(1, 2), torch.ones(2, 6, 3)) + x.view(2, 4, 6).transpose(1, 2).sum()

    graph = owned(Keys(), 1, 6, 8)
    assert passes.turn_once(graph) == 0
    assert passes.copy_when_turning(graph) == 3
    assert passes.turn_once(graph) == 1
    assert [n.args[1] for n in graph.graph.nodes if n.target == ATEN.permute_copy.default] == [[0, 2, 3, 1], [0, 2, 1]]
    x = torch.randn(1, 6, 8)
    assert torch.allclose(graph(x), Keys()(x), atol=1e-5)


def test_uneven_and_negative_splits() -> None:
    class Split(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b, c = x.chunk(3, -1)
            d, e = x.split([1, 6], 1)
            return a.sum() + 2 * b.sum() + 3 * c.sum() + 5 * d.sum() + 7 * e.sum()

    graph = owned(Split(), 2, 7)
    assert passes.split_to_slices(graph) == 2
    x = torch.randn(2, 7)
    assert torch.equal(graph(x), Split()(x))


def test_a_clamp_that_saturation_does_not_imply_stays(
    small_qdq: GraphModule, small_example: tuple[Tensor, ...]
) -> None:
    graph = passes.owned_graph(small_qdq, small_example)
    relu = next(node for node in graph.graph.nodes if node.target == ATEN.relu.default)
    (quantize,) = relu.users
    quantize.args = (quantize.args[0], quantize.args[1], 0, *quantize.args[3:])  # this grid has negative numbers
    assert passes.drop_implied_clamps(graph) == 2  # those of the Hardswishes
    assert ATEN.relu.default in {node.target for node in graph.graph.nodes}


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training mode; call eval\(\) and fuse\(\) first"):
        passes.owned_graph(nn.Linear(2, 2), (torch.zeros(1, 2),))
