"""Operators in the forms that plan and runtimes know give the same values."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from graphs import owned, targets
from torch import Tensor, nn

from converters.passes.activations import plain_arithmetic_, spell_out_activations_
from converters.passes.attention import batch_matmuls_, spell_out_attention_
from converters.passes.convolutions import fold_paddings_, number_paddings_
from converters.passes.folding import drop_broadcasts_, drop_idle_, fold_constants_
from converters.passes.shapes import plain_moves_


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


MASK = torch.randn(5, 5)
HEADS = {
    "plain": lambda x: F.scaled_dot_product_attention(x, x.flip(2), x * 2),
    "scale and bias": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=MASK, scale=0.3),
    "booleans": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=(MASK > 0) | torch.eye(5).bool()),
    "causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
}


@pytest.mark.parametrize("name", HEADS)
def test_attention_spelled_out(name: str) -> None:
    module = Function(HEADS[name])
    graph = owned(module, 2, 3, 5, 6)
    assert spell_out_attention_(graph) == 1
    assert targets(graph).count("aten.matmul.default") == 2
    x = torch.randn(2, 3, 5, 6)
    assert torch.allclose(graph(x), module(x), atol=1e-5)
    assert batch_matmuls_(graph) == 2
    assert targets(graph).count("aten.bmm.default") == 2
    assert torch.allclose(graph(x), module(x), atol=1e-5)


def test_attention_with_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match="dropout_p"):
        spell_out_attention_(
            owned(Function(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)), 1, 2, 3, 4)
        )


class Multiplied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_a_product_with_a_stored_matrix_is_a_linear_layer() -> None:
    module = Multiplied()
    graph = owned(module, 2, 5, 6)
    assert batch_matmuls_(graph) == 1 and "aten.linear.default" in targets(graph)
    assert fold_constants_(graph) == 1 and targets(graph) == ["aten.linear.default"]
    assert any(value.shape == (4, 6) for value in graph.parameters()), "it stays a parameter, that learns"
    x = torch.randn(2, 5, 6)
    assert torch.allclose(graph(x), module(x), atol=1e-5)


ACTIVATIONS = {
    "silu": (F.silu, 1), "hardsigmoid": (F.hardsigmoid, 1), "relu6": (F.relu6, None),
    "clamp": (lambda x: x.clamp(-1, 2), 1),
    "clamp at zero": (lambda x: x.clamp(min=0), 1),
    "hardtanh": (F.hardtanh, None), "at least one": (lambda x: x.clamp(min=1), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_spelled_out(name: str) -> None:
    function, changes = ACTIVATIONS[name]
    graph = owned(Function(function), 2, 50)
    assert spell_out_activations_(graph) == changes or changes is None
    x = 4 * torch.randn(2, 50)
    assert torch.allclose(graph(x), function(x), atol=1e-6)
    assert not {"aten.silu.default", "aten.hardsigmoid.default", "aten.relu6.default"} & set(targets(graph))


@pytest.mark.parametrize(
    "function", [lambda x: torch.add(x, x * x, alpha=2), lambda x: x / 4, lambda x: 3 - x, lambda x: x**2]
)
def test_arithmetic_in_sums_and_products(function: Callable[[Tensor], Tensor]) -> None:
    graph = owned(Function(function), 2, 50)
    assert plain_arithmetic_(graph) == 1
    assert set(targets(graph)) <= {"aten.add.Tensor", "aten.mul.Tensor"}
    assert not any(node.kwargs for node in graph.graph.nodes)
    x = torch.randn(2, 50)
    assert torch.allclose(graph(x), function(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize(("kernel", "padding"), [(3, "same"), (4, "same"), (3, "valid")])
def test_paddings_in_numbers(kernel: int, padding: str) -> None:
    module = nn.Conv2d(3, 4, kernel, padding=padding, dilation=1)
    graph = owned(module, 2, 3, 9, 8)
    assert number_paddings_(graph) == 1 and "aten.conv2d.padding" not in targets(graph)
    x = torch.randn(2, 3, 9, 8)
    assert torch.allclose(graph(x), module(x), atol=1e-6)


PADDED = {
    "alike": ((1, 1, 2, 2), nn.Conv2d(4, 5, 3, 2), 1),
    "a convolution's own comes on top": ((2, 2), nn.Conv2d(4, 4, 3, 1, 1, groups=4), 1),
    "more at the end, depthwise": ((0, 1, 1, 2), nn.Conv2d(4, 8, 3, 2, groups=4, bias=False), 1),
    "more at the end, dense": ((0, 1, 0, 1), nn.Conv2d(4, 5, 3, 2), 0),
    "more at the start": ((1, 0, 1, 0), nn.Conv2d(4, 4, 3, 2, groups=4), 0),
    "more at the end, dilated": ((0, 1, 0, 1), nn.Conv2d(4, 4, 3, dilation=2, groups=4), 0),
}


@pytest.mark.parametrize("name", PADDED)
def test_a_pad_before_a_convolution_is_its_own(name: str) -> None:
    widths, conv, folded = PADDED[name]
    module = nn.Sequential(nn.ReLU(), Function(lambda x: F.pad(x, widths)), conv).eval()
    graph = owned(module, 2, 4, 9, 8)
    x, before = torch.randn(2, 4, 9, 8), conv.weight.detach().clone()
    assert fold_paddings_(graph) == folded
    assert sum("pad." in name for name in targets(graph)) == 1 - folded
    assert torch.allclose(graph(x), module(x), atol=1e-6) and torch.equal(conv.weight, before)


@pytest.mark.parametrize(
    "kept", [lambda x: F.pad(x, (1, 1), value=1.0), lambda x: F.pad(x, (1, 1, 0, 0), mode="reflect")]
)
def test_a_pad_of_something_else_than_zeros_stays(kept: Callable[[Tensor], Tensor]) -> None:
    module = nn.Sequential(Function(kept), nn.Conv2d(4, 5, 3)).eval()
    assert fold_paddings_(owned(module, 2, 4, 9, 8)) == 0


MOVES = {
    "reshape_as": lambda x: (x * 2).flatten(1).reshape_as(x),
    "unbind": lambda x: x.unbind(1)[0] + x.unbind(1)[2],
    "roll": lambda x: torch.roll(x, (-1, 2), (1, 2)),
    "roll by nothing": lambda x: torch.roll(x, (0, 3), (1, 1)) + x,
}


@pytest.mark.parametrize("name", MOVES)
def test_moves_in_plain_forms(name: str) -> None:
    function = MOVES[name]
    graph = owned(Function(function), 2, 3, 4)
    assert plain_moves_(graph) >= 1
    assert not {"aten.reshape_as.default", "aten.unbind.int", "aten.roll.default"} & set(targets(graph))
    x = torch.randn(2, 3, 4)
    assert torch.equal(graph(x), function(x))


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: x * x.sum(-1, keepdim=True).expand_as(x), 0),
        (lambda x: x.mean(-1, keepdim=True).expand(2, 3, 4) - x, 0),
        (lambda x: (x + 1).sum(-1, keepdim=True).expand(2, 3, 4) * 2, 1),  # nothing else is as large
        (lambda x: torch.cat([x, x.sum(-1, keepdim=True).expand_as(x)]), 1),
    ],
)
def test_sums_and_products_spread_by_themselves(function: Callable[[Tensor], Tensor], left: int) -> None:
    module, x = Function(function), torch.randn(2, 3, 4)
    graph = owned(module, 2, 3, 4)
    assert drop_broadcasts_(graph) == 1 - left
    assert sum("expand" in name for name in targets(graph)) == left
    assert torch.equal(graph(x), module(x))


def test_what_changes_nothing_is_dropped() -> None:
    graph = owned(Function(lambda x: x.to(torch.float32).detach().expand(2, 3) * 2), 2, 3)
    drop_idle_(graph)
    assert targets(graph) == ["aten.mul.Tensor"]


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 3))
        self.register_buffer("places", torch.tensor([[0, 3], [2, 1]]))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[self.places.view(-1)].view(2, 2, 3).permute(2, 0, 1) + torch.arange(2)


def test_what_weights_alone_decide_is_stored() -> None:
    module = Table()
    graph = owned(module, 2, 3, 2, 2)
    assert fold_constants_(graph) >= 3
    assert targets(graph) == ["aten.add.Tensor", "aten.add.Tensor"]
    assert [value.shape for value in graph.parameters()] == [(3, 2, 2)]
    x = torch.randn(2, 3, 2, 2)
    assert torch.equal(graph(x), module(x))


def test_random_numbers_are_not_stored() -> None:
    graph = owned(Function(lambda x: x + torch.rand(3)), 2, 3)
    fold_constants_(graph)
    assert any("rand" in target for target in targets(graph))
