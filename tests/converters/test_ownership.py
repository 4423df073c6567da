"""A converter changes nothing that it is handed: the same module converts twice to the same bytes."""

import importlib
from pathlib import Path

import pytest
import torch
from graphs import is_state, state
from torch import Tensor, nn
from torch.fx import GraphModule

from edge_vit.deployment.targets import TARGETS, Request

pytestmark = [
    pytest.mark.needs_tflite,
    pytest.mark.needs_executorch,
    pytest.mark.needs_coreml,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),  # inside the SDKs
]
ONNX = pytest.param(".onnx", marks=pytest.mark.needs_onnx)
SUFFIXES = [".tflite", ".pte", ".mlpackage", ONNX]
EXAMPLE = (torch.zeros(1, 8, 8, 3),)


class Shared(nn.Module):
    """Layers that share a weight, weights in shared memory, constants out of plain order, and a mask of -infinity."""

    turned: Tensor
    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(3, 8)
        self.second.weight = self.first.weight
        memory = torch.randn(12, 8)
        self.query, self.key = nn.Parameter(memory[:8]), nn.Parameter(memory[4:])
        self.register_buffer("turned", torch.randn(8, 64).t())
        self.register_buffer("mask", torch.full((64, 64), float("-inf")).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(1, 64, 3) / 255.0
        x = nn.functional.hardswish(self.first(x)) + self.second(x) + self.turned
        query, key = nn.functional.linear(x, self.query), nn.functional.linear(x, self.key)
        weights = torch.softmax(torch.bmm(query, key.transpose(1, 2)) + self.mask, -1)
        return torch.bmm(weights, x).mean(1)


def convert(suffix: str, model: nn.Module, example: tuple[Tensor, ...], precision: str, folder: Path) -> bytes:
    spec = next(spec for spec in TARGETS.values() if spec.suffix == suffix)
    path = folder / f"m{suffix}"
    options = spec.options(Request(precision=precision))  # type: ignore[arg-type]
    importlib.import_module(spec.module).convert(model, example, path, options=options)
    # A Core ML package lists its files under random names.
    return path.read_bytes() if path.is_file() else b"".join(f.read_bytes() for f in sorted(path.glob("Data/*/*/*")))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_module_converts_twice_to_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Shared().eval()
    before, strides = state(model), [t.stride() for t in (*model.parameters(), *model.buffers())]
    first, second = (convert(suffix, model, EXAMPLE, "fp32", tmp_path) for _ in range(2))
    assert first == second and len(first) > 1000
    assert is_state(model, before) and strides == [t.stride() for t in (*model.parameters(), *model.buffers())]
    assert model.second.weight is model.first.weight


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_graph_converts_twice_to_the_same_bytes(
    suffix: str, small_qdq: GraphModule, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    before, nodes = state(small_qdq), str(small_qdq.graph)
    metas = [{key: id(value) for key, value in node.meta.items()} for node in small_qdq.graph.nodes]
    first, second = (convert(suffix, small_qdq, small_example, "int8", tmp_path) for _ in range(2))
    assert first == second and len(first) > 1000
    assert is_state(small_qdq, before) and str(small_qdq.graph) == nodes
    assert metas == [{key: id(value) for key, value in node.meta.items()} for node in small_qdq.graph.nodes]


def tied_graph() -> GraphModule:
    """Return the int8 graph of two additions, on grids of their own, of one constant; and a weight of two layers."""
    from edge_vit.quantization.graph import export_graph
    from edge_vit.quantization.plan import QParams, make_plan
    from edge_vit.quantization.quantizer import quantize_graph

    class Tied(nn.Module):
        places: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
            self.second.weight = self.first.weight
            self.register_buffer("places", torch.linspace(-0.01, 0.01, 512).view(1, 8, 8, 8))

        def forward(self, x: Tensor) -> Tensor:
            x = x.permute(0, 3, 1, 2)
            turned = x.transpose(2, 3)  # of the same picture, the lowering tool would make one convolution of both
            return (self.first(x) + self.places).mean((2, 3)) + (self.second(turned) * 8 + self.places).mean((2, 3))

    torch.manual_seed(0)
    graph = export_graph(Tied().eval(), EXAMPLE[0])
    plan = make_plan(graph)
    ranges = {name: QParams(scale=2.0, zero_point=0) for name, group in plan.groups.items() if group.kind != "fixed"}
    fine = next(name for name in ranges if name.startswith("add"))
    ranges[fine] = QParams(scale=1.0, zero_point=0)
    return quantize_graph(graph, plan, ranges)


@pytest.mark.parametrize("suffix", [".tflite", ".pte", ONNX])
def test_constants_that_operators_share_are_each_on_its_own_grid(suffix: str, tmp_path: Path) -> None:
    from converters.grids import compare_operators, read_operators
    from converters.passes import grids

    graph = tied_graph()
    convert(suffix, graph, EXAMPLE, "int8", tmp_path)
    found = compare_operators(grids.read(graph), read_operators(tmp_path / f"m{suffix}"))
    assert found.is_equal, (found.missing, found.extra)
