"""Pixels in place of normalised images: the first convolution takes mean and standard deviation, borders included."""

import pytest
import torch
from graphs import owned, targets
from torch import Tensor, nn

from converters.passes.pixels import fold_normalisation_
from edge_vit.layers.own_pixels import OwnPixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def conv(*arguments: int, **options: object) -> nn.Conv2d:
    return nn.Conv2d(3, 4, *arguments, **options)  # type: ignore[arg-type]


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.pad((x - 0.1) * 2.0, (0, 1, 0, 1)))


FIRST = {
    "no border": (conv(4, 4), 0), "left and top": (conv(3, 2, 1), 2), "all around": (conv(3, 1, 1), 4),
    "odd strides": (conv(7, 3, 2), 4), "without bias": (conv(3, 2, 1, bias=False), 2), "dilated": (conv(3, 1, 2, 2), 4),
    "patches that leave a rest": (conv(5, 5), 0), "a pad before": (Padded(), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST)
def test_normalisation_goes_into_the_first_convolution(name: str) -> None:
    first, borders = FIRST[name]
    net = OwnPixels(nn.Sequential(first, nn.Flatten(), nn.Softmax(1)), MEAN, STD)
    graph = owned(net, 2, 16, 12, 3)
    assert fold_normalisation_(graph) == ""
    graph.graph.lint()
    found = targets(graph)
    assert not {"aten.mul.Tensor", "aten.add.Tensor", "aten.pad.default"} & set(found)
    assert sum(len(n.args[0]) - 1 for n in graph.graph.nodes if str(n.target) == "aten.cat.default") == borders
    x = torch.randint(0, 256, (2, 16, 12, 3)).float()
    assert torch.allclose(graph(x), net(x), atol=1e-5)


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (nn.Sequential(nn.MaxPool2d(2), conv(3)), "goes into max_pool2d"),
        (nn.Flatten(), "goes into flatten"),
    ],
)
def test_what_cannot_take_it_is_said(first: nn.Module, why: str) -> None:
    net = OwnPixels(first, MEAN, STD)
    graph = owned(net, 2, 8, 8, 3)
    assert why in fold_normalisation_(graph)
    x = torch.randint(0, 256, (2, 8, 8, 3)).float()
    assert torch.allclose(graph(x), net(x), atol=1e-5)


def test_a_border_that_is_no_color_is_said() -> None:
    graph = owned(OwnPixels(conv(3, 1, 1), (-0.5, 0.5, 0.5), STD), 1, 8, 8, 3)
    assert "no color" in fold_normalisation_(graph)
