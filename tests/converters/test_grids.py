"""The integers of one graph, read back from every format: all equal, and a changed one is noticed and named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_network
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.grids import Grid, Int8Operator, compare_operators, digest_weights, read_operators
from converters.passes import grids as grids_graph

pytestmark = [
    pytest.mark.needs_tflite,
    pytest.mark.needs_executorch,
    pytest.mark.needs_coreml,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),  # inside the SDKs
]

KINDS = [".tflite", ".pte", ".mlpackage", pytest.param(".onnx", marks=pytest.mark.needs_onnx)]


class Gated(nn.Module):
    """A ReLU alone behind a join, and channels gated by a sigmoid, as in EfficientViT."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, 1, 1)
        # A channel that training left for dead: its scale is the smallest there is, its weights lie between integers.
        self.left.weight.data[0] = (torch.arange(8.0).view(8, 1, 1) + 0.5) * torch.finfo(torch.float32).eps
        self.reduce, self.expand, self.head = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1), nn.Conv2d(16, 5, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(torch.cat([self.left(x), self.right(x)], 1))
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))))
        return self.head(x * gate).flatten(1)


@pytest.fixture(scope="module")
def half_qdq() -> GraphModule:
    """The small network of conftest.py, its scales such as float16 holds."""
    from tests.converters.conftest import SmallNet

    return quantized(SmallNet)


def quantized(net: Callable[[], nn.Module]) -> GraphModule:
    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.quantization.graph import export_graph
    from edge_vit.quantization.half_scales import round_scales_
    from edge_vit.quantization.plan import make_plan
    from edge_vit.quantization.ptq import calibrate
    from edge_vit.quantization.quantizer import quantize_graph
    from tests.converters.conftest import SIDE, pictures

    torch.manual_seed(0)
    model = PixelInput(net(), SIDE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    graph = export_graph(model, torch.zeros(1, SIDE, SIDE, 3))
    plan = make_plan(graph)
    ranges = calibrate(graph, plan, [torch.from_numpy(picture[None]).float() for picture in pictures(8)])
    return quantize_graph(graph, plan, round_scales_(graph, plan, ranges))


def write(kind: str, graph: GraphModule, example: tuple[Tensor, ...], folder: Path) -> Path:
    import importlib

    from edge_vit.deployment.targets import TARGETS, Request

    spec = next(spec for spec in TARGETS.values() if spec.suffix == kind)
    path = folder / f"small{kind}"
    request = Request(precision="int8")
    importlib.import_module(spec.module).convert(graph, example, path, options=spec.options(request))
    return path


@pytest.mark.parametrize("kind", [".tflite", ".pte", ".mlpackage"])
def test_every_format_holds_the_graphs_integers(
    kind: str, half_qdq: GraphModule, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    wanted = grids_graph.read(half_qdq)
    kinds = [operator.kind for operator in wanted]
    assert {k: kinds.count(k) for k in sorted(set(kinds))} == {
        "add": 4, "concat": 3, "gemm": 7, "matmul": 2, "mean": 1, "mul": 2,
    }  # fmt: skip
    assert all(operator.weights for operator in wanted if operator.kind == "gemm")
    path = write(kind, half_qdq, small_example, tmp_path)
    found = compare_operators(wanted, read_operators(path))
    assert found.is_equal, (found.missing, found.extra)
    assert found.shared == len(wanted)
    small_network.check(path)


@pytest.mark.parametrize("kind", KINDS)
def test_gates_and_relus_alone_are_integers_in_every_format(
    kind: str, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    graph = quantized(Gated)
    wanted = grids_graph.read(graph)
    kinds = [operator.kind for operator in wanted]
    assert kinds.count("sigmoid") == 1 and kinds.count("gemm") == 6
    found = compare_operators(wanted, read_operators(write(kind, graph, small_example, tmp_path)))
    assert found.is_equal, (found.missing, found.extra)


def test_a_change_is_counted_and_named() -> None:
    grid, other = Grid(0.5, 3), Grid(0.25, 0)
    graph = [Int8Operator("add", "a.add", (grid, other), grid), Int8Operator("gemm", "b", (grid,), other, "0123")]
    assert compare_operators(graph, graph[::-1]).is_equal
    shifted = replace(graph[0], output=Grid(0.5, 4), name="Add.7")
    found = compare_operators(graph, [shifted, graph[1]])
    assert (found.shared, found.missing) == (1, ("add a.add: 0.5 (+3), 0.25 (+0) -> 0.5 (+3)",))
    assert found.extra == ("add Add.7: 0.5 (+3), 0.25 (+0) -> 0.5 (+4)",) and not found.is_equal
    assert not compare_operators(graph, [graph[0], replace(graph[1], weights="4567")]).is_equal
    twice = compare_operators([*graph, graph[0]], graph)
    assert twice.shared == 2 and len(twice.missing) == 1 and not twice.extra


def test_weights_and_scales_both_count() -> None:
    weights = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    assert digest_weights(weights, [0.5, 0.25]) == digest_weights(weights.reshape(2, 12), np.float32([0.5, 0.25]))
    assert digest_weights(weights, [0.5, 0.25]) != digest_weights(weights, [0.5, 0.250001])
    assert digest_weights(weights, [0.5, 0.25]) != digest_weights(weights + np.int8(1), [0.5, 0.25])


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"m\.engine: no reader of grids for '\.engine'; known are \.tflite, \.pte"):
        read_operators(tmp_path / "m.engine")
    bad = tmp_path / "bad.pte"
    bad.write_bytes(b"not a program" * 20)
    with pytest.raises(ValueError, match=r"bad\.pte: damaged \.pte file"):
        read_operators(bad)
