"""Batch norms and scales go into their neighbours, and the function stays."""

import pytest
import torch
from graphs import owned, targets
from torch import Tensor, nn

from converters.passes.batch_norm import fold_batch_norms_, fold_scales_

FOLDED = ("aten.batch_norm.default", "aten.mul.Tensor", "aten.add.Tensor", "aten.div.Tensor")


def norm(kind: type[nn.Module], channels: int) -> nn.Module:
    made = kind(channels)
    for tensor in (made.weight, made.bias, made.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(made.running_var, 0.5, 2.0)
    return made


class Tokens(nn.Module):
    """Linear, then batch norm over its channels, in the two ways that LeViTs write it."""

    def __init__(self, is_turned: bool) -> None:
        super().__init__()
        self.linear, self.norm, self.is_turned = nn.Linear(6, 8, bias=False), norm(nn.BatchNorm1d, 8), is_turned

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        if self.is_turned:
            return self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.norm(x.flatten(0, 1)).reshape(2, 5, 8)


NEIGHBOURS = {
    "convolution before": (nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1, bias=False), norm(nn.BatchNorm2d, 8)), (2, 6, 9, 9)),
    "groups before": (nn.Sequential(nn.Conv2d(6, 12, 3, groups=3), norm(nn.BatchNorm2d, 12)), (2, 6, 9, 9)),
    "linear before": (nn.Sequential(nn.Linear(6, 8), norm(nn.BatchNorm1d, 8)), (2, 6)),
    "linear over tokens": (Tokens(False), (2, 5, 6)),
    "linear, turned": (Tokens(True), (2, 5, 6)),
    "linear behind": (nn.Sequential(norm(nn.BatchNorm1d, 6), nn.Linear(6, 8)), (2, 6)),
    "convolution behind": (nn.Sequential(norm(nn.BatchNorm2d, 6), nn.Conv2d(6, 8, 3)), (2, 6, 9, 9)),
    "groups behind": (nn.Sequential(norm(nn.BatchNorm2d, 6), nn.Conv2d(6, 9, 3, groups=3, bias=False)), (2, 6, 9, 9)),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_batch_norm_goes_into_its_neighbour(name: str) -> None:
    module, shape = NEIGHBOURS[name]
    graph = owned(module, *shape)
    assert fold_batch_norms_(graph) == 1
    assert not set(targets(graph)) & set(FOLDED)
    x = torch.randn(shape)
    assert torch.allclose(graph(x), module.eval()(x), atol=1e-5)


PADDED = nn.Sequential(norm(nn.BatchNorm2d, 6), nn.Conv2d(6, 8, 3, padding=1))


@pytest.mark.parametrize("module", [norm(nn.BatchNorm2d, 6), PADDED, nn.BatchNorm2d(6, affine=False)])
def test_batch_norm_without_a_neighbour_becomes_a_product_and_a_sum(module: nn.Module) -> None:
    graph = owned(module, 2, 6, 9, 9)
    assert fold_batch_norms_(graph) == 1
    assert targets(graph)[:2] == ["aten.mul.Tensor", "aten.add.Tensor"]
    x = torch.randn(2, 6, 9, 9)
    assert torch.allclose(graph(x), module.eval()(x), atol=1e-5)


class Shared(nn.Module):
    """One convolution, two batch norms: each needs weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 4, 1), norm(nn.BatchNorm2d, 4), norm(nn.BatchNorm2d, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.conv(x)) - self.second(self.conv(x))


def test_a_shared_convolution_gets_weights_of_its_own() -> None:
    module = Shared()
    graph = owned(module, 2, 3, 5, 5)
    assert fold_batch_norms_(graph) == 2
    x = torch.randn(2, 3, 5, 5)
    assert torch.allclose(graph(x), module.eval()(x), atol=1e-5)


def test_statistics_of_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="track_running_stats"):
        fold_batch_norms_(owned(nn.BatchNorm2d(3, track_running_stats=False), 2, 3, 5, 5))


class Scaled(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear, self.conv, self.kind = nn.Linear(6, 8), nn.Conv2d(6, 8, 1), kind
        self.gamma, self.planes = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "layer scale":
            return self.gamma * self.linear(x)
        if self.kind == "planes":
            return self.conv(x.transpose(1, 2).reshape(2, 6, 5, 1)) * self.planes
        if self.kind == "heads":
            return self.linear(x).view(2, 5, 2, 4).transpose(1, 2) / 2.0
        if self.kind == "read twice":
            y = self.linear(x)
            return y * self.gamma + y
        return self.linear(x) * x.mean()


@pytest.mark.parametrize(
    ("kind", "expected"), [("layer scale", 1), ("planes", 1), ("heads", 1), ("read twice", 0), ("an activation", 0)]
)
def test_scales_go_into_the_layer_before(kind: str, expected: int) -> None:
    module = Scaled(kind)
    graph = owned(module, 2, 5, 6)
    assert fold_scales_(graph) == expected
    x = torch.randn(2, 5, 6)
    assert torch.allclose(graph(x), module(x), atol=1e-5)
