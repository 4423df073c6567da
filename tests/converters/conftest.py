"""A network with a little of everything that the converters must carry, small enough to lower in seconds."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters import sqnr

SIDE = 16


class SmallNet(nn.Module):
    """Convolution, Hardswish, attention with a bias, split, concatenation, ReLU, mean over the grid."""

    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.act = nn.Hardswish()
        self.down = nn.Conv2d(8, 16, 3, 2, 1)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.proj, self.head = nn.Linear(16, 16), nn.Linear(16, 5)
        self.register_buffer("bias", torch.randn(1, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.down(self.act(self.stem(x)))).flatten(2).transpose(1, 2)
        weights = torch.softmax(torch.bmm(self.query(x), self.key(x).transpose(1, 2)) + self.bias, -1)
        x = x + self.proj(self.act(torch.bmm(weights, self.value(x))))
        first, second = x.chunk(2, 2)
        x = torch.cat([second, first + 1], 2)
        return self.head(x.view(-1, 4, 4, 16).mean((1, 2)))


def pictures(count: int) -> np.ndarray:
    """Return smooth pictures, uint8 (count, SIDE, SIDE, 3)."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(1)) * 255
    smooth = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return smooth.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


@pytest.fixture(scope="session")
def small_pictures() -> np.ndarray:
    return pictures(8)


@pytest.fixture(scope="session")
def small_example() -> tuple[Tensor, ...]:
    return (torch.zeros(1, SIDE, SIDE, 3),)


@pytest.fixture(scope="session")
def _small_models() -> tuple[nn.Module, GraphModule]:
    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.quantization.graph import export_graph
    from edge_vit.quantization.plan import make_plan
    from edge_vit.quantization.ptq import calibrate
    from edge_vit.quantization.quantizer import quantize_graph

    torch.manual_seed(0)
    model = PixelInput(SmallNet(), SIDE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    graph = export_graph(model, torch.zeros(1, SIDE, SIDE, 3))
    plan = make_plan(graph)
    batches = [torch.from_numpy(picture[None]).float() for picture in pictures(8)]
    return model, quantize_graph(graph, plan, calibrate(graph, plan, batches))


@pytest.fixture
def small_model(_small_models: tuple[nn.Module, GraphModule]) -> nn.Module:
    """Return a pixel model, (1, SIDE, SIDE, 3) -> (1, 5)."""
    return copy.deepcopy(_small_models[0])


@pytest.fixture
def small_qdq(_small_models: tuple[nn.Module, GraphModule]) -> GraphModule:
    """Return its int8 graph."""
    return copy.deepcopy(_small_models[1])


def run_torch(model: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([model(torch.from_numpy(image[None]).float()) for image in images]).numpy()


@pytest.fixture
def torch_logits() -> Callable[..., np.ndarray]:
    return run_torch


@pytest.fixture
def sqnr_db() -> Callable[[np.ndarray, np.ndarray], float]:
    return sqnr.sqnr_db
