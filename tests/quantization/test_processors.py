"""A processor is a value: the plan for CPUs stays what it was, that for NPUs leaves nothing to floats."""

import hashlib
import json

import pytest
import torch
from torch import nn

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from edge_vit.layers.fuse import fuse
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.models import create_model
from edge_vit.quantization.checkpoint import pack
from edge_vit.quantization.graph import ATEN, export_graph
from edge_vit.quantization.pipeline import FloatModel, StoredIntegers, build_quantized
from edge_vit.quantization.plan import QParams, make_plan
from edge_vit.quantization.processors import CPU, GPU, NPU, PROCESSORS, check_request, explanation, find_processor
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.qat import QatModel

SIDE = 64
# Names of groups, kinds and fixed grids, and which operators run in int8 and float, before there were processors.
CPU_PLANS = {
    "levit_128s": "a18d48d3c6eb5900",
    "efficientvit_m0": "f90c803b09b48c1d",
    "fastervit_0_any_res": "8938ec672bc8079b",
}


def exported(name, processor):
    model = create_model(name, num_classes=10, resolution=SIDE)
    module = PixelInput(fuse(model.eval()), SIDE, IMAGENET_MEAN, IMAGENET_STD).eval()
    return export_graph(module, torch.zeros(1, SIDE, SIDE, 3), has_floats=processor.has_floats)


def digest(plan):
    groups = [
        [g.name, g.kind, None if g.fixed is None else [g.fixed.scale, g.fixed.zero_point]] for g in plan.groups.values()
    ]
    nodes = [[plan.names[node] for node in nodes] for nodes in (plan.int8_nodes, plan.float_nodes)]
    return hashlib.sha256(json.dumps([groups, nodes]).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", CPU_PLANS)
def test_the_plan_for_cpus_is_what_it_was(name):
    assert digest(make_plan(exported(name, CPU))) == CPU_PLANS[name]


@pytest.mark.parametrize("name", CPU_PLANS)
def test_the_plan_for_npus_has_no_floats(name):
    plan = make_plan(exported(name, NPU), processor=NPU)
    assert plan.float_nodes == []
    kinds = {node.target for node in plan.int8_nodes}
    assert ATEN.softmax.int in kinds and ATEN.layer_norm.default not in kinds
    probabilities = [group for name, group in plan.groups.items() if ".softmax." in name]
    assert probabilities and all(group.fixed == QParams(scale=1 / 256, zero_point=-128) for group in probabilities)


class Norm(nn.Module):
    """Pixels -> layer norm -> GELU -> a linear layer."""

    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.LayerNorm(3, elementwise_affine=False), nn.Linear(3, 4)

    def forward(self, x):
        return self.head(nn.functional.gelu(self.norm(x)))


def test_a_layer_norm_in_integers_is_named_after_its_module_and_planned():
    graph = export_graph(Norm().eval(), torch.zeros(1, 4, 4, 3), has_floats=False)
    plan = make_plan(graph, processor=NPU)
    assert {name for name in plan.groups if name.startswith("norm.")} == {
        "norm.linear.0", "norm.sub.0", "norm.mul.0", "norm.linear.1", "norm.rsqrt.0", "norm.mul.1",
    }  # fmt: skip


def test_what_has_no_integer_form_is_named():
    class Sine(nn.Module):
        def forward(self, x):
            return torch.sin(x) + 1.0

    graph = export_graph(Sine().eval(), torch.zeros(1, 4, 4, 3), has_floats=False)
    with pytest.raises(ValueError, match=r"1 operators have no integer form and --processor npu has no floats: sin\.0"):
        make_plan(graph, processor=NPU)


def test_training_rounds_probabilities_to_the_grid_of_the_kernels(pixel_model, batches):
    graph = export_graph(pixel_model, torch.zeros(2, SIDE, SIDE, 3), dynamic_batch=True, has_floats=False)
    plan = make_plan(graph, processor=NPU)
    model = QatModel(graph, plan, calibrate(graph, plan, batches[:2]), IMAGENET_MEAN, IMAGENET_STD)
    fixed = [q for name, q in model.fake_quants().items() if ".softmax." in name]
    assert len(fixed) == 11
    given = fixed[0](torch.linspace(0, 1, 1000))
    torch.testing.assert_close(given * 256, (given * 256).round())
    assert float(given.max()) == 255 / 256
    model(torch.randn(2, 3, SIDE, SIDE)).square().mean().backward()
    scores = [q for name, q in model.fake_quants().items() if name.endswith("attn.add.0")]
    assert len(scores) == 11 and float(scores[0].log_growth.grad) != 0.0


def test_ranges_that_another_processor_needs_are_chosen_from_pictures_or_asked_for(pixel_model, ranges, batches):
    weights = {name: value.detach() for name, value in export_graph(pixel_model, batches[0]).named_parameters()}
    stored = {name: {"scale": one.scale, "zero_point": one.zero_point} for name, one in ranges.items()}
    model = FloatModel(
        module=pixel_model, preprocess=Preprocess(resolution=SIDE), classes=[], weights="trained.safetensors", notes=(),
        integers=StoredIntegers(tensors=pack(weights, set()), metadata={"ranges": stored}),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"trained\.safetensors lacks 11 of the 187 ranges that --processor npu needs"):
        build_quantized(model, None, processor=NPU)
    made = build_quantized(model, batches[:2], processor=NPU)
    added = made.summary["ranges_calibrated"]
    assert len(added) == 11 and all(name.endswith("attn.add.0") for name in added)
    kept = {name: one for name, one in made.ranges.items() if name in ranges}
    assert all(abs(kept[name].scale / ranges[name].scale - 1) < 1e-3 for name in kept)


def test_processors_are_found_and_explained():
    assert find_processor("npu") is NPU
    with pytest.raises(ValueError, match="unknown processor 'npuu'; choose from cpu, npu, gpu; did you mean npu"):
        find_processor("npuu")
    text = "\n".join(explanation())
    assert all(one.what in text and one.source in text for one in PROCESSORS.values())


@pytest.mark.parametrize(
    ("processor", "precision", "target", "message"),
    [
        (NPU, "fp32", "tflite", "--processor npu takes no fp32 file; use --int8"),
        (GPU, "int8", "tflite", "--processor gpu takes no int8 file; use no precision flag or --fp16"),
        (NPU, "int8", "coreml", "--processor npu is not for coreml; use --target tflite or onnx"),
    ],
)
def test_what_a_processor_does_not_take_is_refused(processor, precision, target, message):
    with pytest.raises(ValueError, match=message):
        check_request(processor, precision, [target])
