"""Scales that float16 holds: the values stay on the same integers, and a second rounding changes nothing."""

import numpy as np
import pytest
import torch

from edge_vit.quantization.half_scales import on_half_grid, round_scales_
from edge_vit.quantization.plan import QParams, make_plan
from edge_vit.quantization.quantizer import quantize_graph


def is_half(number: float) -> bool:
    return float(np.float16(number)) == number


@pytest.mark.parametrize("per_channel", [True, False])
def test_largest_value_gives_the_scale_back(per_channel):
    tensor = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    tensor *= torch.logspace(-5, 1, 6).view(6, 1, 1, 1)
    rounded = on_half_grid(tensor, per_channel=per_channel)
    rows = rounded.flatten(1) if per_channel else rounded.reshape(1, -1)
    scales = rows.abs().amax(1) / 127.0
    assert torch.equal(scales.half().float(), scales)
    steps = rows / scales[:, None]
    assert torch.equal(steps, steps.round()) and steps.abs().max() == 127
    assert torch.equal(on_half_grid(rounded, per_channel=per_channel), rounded)
    plain = tensor.flatten(1) if per_channel else tensor.reshape(1, -1)
    assert torch.equal(steps, (plain / (plain.abs().amax(1, keepdim=True) / 127.0)).round()), "the same integers"


def test_zeros_stay_zeros():
    assert torch.equal(on_half_grid(torch.zeros(2, 3), per_channel=True), torch.zeros(2, 3))


def test_every_scale_of_a_graph_is_a_half(small_graph_and_ranges):
    graph, plan, ranges = small_graph_and_ranges
    rounded = round_scales_(graph, plan, ranges)
    assert rounded.keys() == ranges.keys()
    for name, qparams in rounded.items():
        assert is_half(qparams.scale) and abs(qparams.scale / ranges[name].scale - 1) <= 2**-11
        assert qparams.zero_point == ranges[name].zero_point
    quantized = quantize_graph(graph, plan, rounded)
    scales = [node.args[1] for node in quantized.graph.nodes if "quantize_per_tensor" in str(node.target)]
    assert len(scales) > 10 and all(is_half(scale) for scale in scales)
    channels = [node.args[1] for node in quantized.graph.nodes if ".quantize_per_channel" in str(node.target)]
    for node in channels:
        tensor = getattr(quantized, node.target)
        assert torch.equal(tensor.half().float(), tensor)


class TinyPositions(torch.nn.Module):
    """A position embedding far below one step of what it is added to."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, 2, 1)
        self.register_buffer("places", torch.linspace(-1e-4, 1e-4, 256).view(1, 4, 8, 8))

    def forward(self, x):
        return self.conv(x) + self.places


def test_added_constants_keep_a_scale_that_kernels_take():
    from edge_vit.quantization.graph import export_graph

    graph = export_graph(TinyPositions().eval(), torch.zeros(1, 3, 16, 16))
    plan = make_plan(graph, pixel_input=False)
    ranges = {name: QParams(scale=0.0123, zero_point=-5) for name in plan.groups}
    rounded = round_scales_(graph, plan, ranges)
    quantized = quantize_graph(graph, plan, rounded)
    (total,) = [node for node in quantized.graph.nodes if node.target == torch.ops.aten.add.Tensor]
    operands, out = [source.args[1] for source in total.all_input_nodes], next(iter(total.users)).args[1]
    assert len(operands) == 2 and all(2**-10 <= scale / out < 2**8 and is_half(scale) for scale in operands)
    places = total.all_input_nodes[1].args[0]
    assert places.args[1] < 1.01 * 2**-10 * out, "no coarser than it must be"


class SharedPositions(torch.nn.Module):
    """One constant, added to a sum with a fine scale and to one with a coarse scale."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Conv2d(3, 4, 3, 2, 1)
        self.register_buffer("places", torch.linspace(-1e-2, 1e-2, 256).view(1, 4, 8, 8))

    def forward(self, x):
        return (self.fine(x) + self.places).mean((2, 3)) + (self.coarse(x) + self.places).mean((2, 3))


def test_each_reader_of_a_shared_constant_gets_its_own_scale():
    from edge_vit.quantization.graph import export_graph

    graph = export_graph(SharedPositions().eval(), torch.zeros(1, 3, 16, 16))
    plan = make_plan(graph, pixel_input=False)
    ranges = {name: QParams(scale=0.01, zero_point=0) for name in plan.groups}
    sums = [n for n in graph.graph.nodes if n.target == torch.ops.aten.add.Tensor and n.args[1].op == "get_attr"]
    names = [plan.group_of[node].name for node in sums]
    assert len(names) == 2
    ranges[names[1]] = QParams(scale=0.5, zero_point=0)
    places = graph.get_buffer(sums[0].args[1].target).clone()
    rounded = round_scales_(graph, plan, ranges)
    fine, coarse = (graph.get_buffer(node.args[1].target) for node in sums)
    for node, tensor in zip(sums, (fine, coarse), strict=True):
        smallest = 2.0**-10 * rounded[plan.group_of[node].name].scale
        assert torch.equal(tensor, on_half_grid(places, per_channel=False, smallest_scale=smallest))
    assert not torch.equal(fine, coarse)
    quantize_graph(graph, plan, rounded)


@pytest.fixture
def small_graph_and_ranges():
    from edge_vit.quantization.graph import export_graph

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Hardswish(), torch.nn.Conv2d(4, 4, 1), torch.nn.ReLU6(),
        torch.nn.Conv2d(4, 5, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    ).eval()  # fmt: skip
    graph = export_graph(model, torch.zeros(1, 3, 16, 16))
    plan = make_plan(graph)
    learnt = [name for name, group in plan.groups.items() if group.kind != "fixed"]
    ranges = {name: QParams(scale=0.0123, zero_point=-5) for name in learnt}
    assert any(group.kind == "fixed" and not is_half(group.fixed.scale) for group in plan.groups.values())
    return graph, plan, ranges
