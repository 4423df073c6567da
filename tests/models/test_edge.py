"""Edge variants: exact deploy forms in which no operator is left to float."""

import pytest
import torch

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from edge_vit.layers.attention import relu6_weights, relu_weights
from edge_vit.layers.fuse import fuse
from edge_vit.layers.norm_block import Functions
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.models.registry import create_model, get_spec, list_models
from edge_vit.models.summary import summarise
from edge_vit.models.weights import randomize_
from edge_vit.quantization.graph import ATEN, export_graph
from edge_vit.quantization.plan import make_plan

EDGE = [name for name in list_models() if "_edge_" in name]


@pytest.fixture(scope="module", params=EDGE)
def edge_model(request):
    model = create_model(request.param, num_classes=7, resolution=128)
    randomize_(model)
    return request.param, model.eval()


def test_every_family_has_one():
    assert {get_spec(name).family for name in EDGE} == {"levit", "efficientvit", "fastervit"}


@torch.no_grad()
def test_fused_equals_training_form(edge_model):
    _, model = edge_model
    images = torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    want = model(images)
    assert want.std() > 0.1
    deployed = fuse(model)
    for got in (deployed(images), torch.cat([deployed(image[None]) for image in images])):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * float(want.abs().max()))


def test_deploy_graph_is_clean(edge_model, deploy_graph):
    operators = deploy_graph(fuse(edge_model[1]), 128)
    assert not any(word in name for name in operators for word in ("softmax", "gelu", "layer_norm", "hardswish"))


@pytest.mark.parametrize("batch", [1, 2])
def test_no_operator_computes_in_float(edge_model, batch):
    model = PixelInput(fuse(edge_model[1]), 128, IMAGENET_MEAN, IMAGENET_STD).eval()
    graph = export_graph(model, torch.zeros(batch, 128, 128, 3), dynamic_batch=batch > 1)
    plan = make_plan(graph)
    assert [plan.names[node] for node in plan.float_nodes] == []
    # Every score goes through a ReLU that fuses into the addition of the bias, at any batch size.
    additions = [n for n in plan.int8_nodes if n.target == ATEN.add.Tensor and n.args[0].target != ATEN.add.Tensor]
    fused = [
        n for n in additions if [user.target for user in n.users] in ([ATEN.relu.default], [ATEN.hardtanh.default])
    ]
    matmuls = [n for n in plan.int8_nodes if n.target == ATEN.bmm.default]
    assert len(matmuls) >= 2 and len(fused) == len(matmuls) // 2


def test_fastervit_edge_is_of_mobile_size():
    row = summarise("fastervit_edge_0")
    assert row.num_params <= 6_000_000 and row.mmac <= 600
    model = create_model("fastervit_edge_0")
    assert model.stages[2].blocks.carrier_init is not None and len(model.stages[2].blocks.blocks) == 4


def test_relu_weights_follow_their_definition():
    scores = torch.tensor([[-1.0, 0.0, 2.0, 4.0]])
    torch.testing.assert_close(relu_weights(scores), torch.tensor([[0.0, 0.0, 0.5, 1.0]]))
    torch.testing.assert_close(relu6_weights(10 * scores), torch.tensor([[0.0, 0.0, 0.25, 0.25]]))


def test_relu6_weights_are_bounded():
    scores = 1e3 * torch.randn(4, 50, generator=torch.Generator().manual_seed(2))
    assert relu6_weights(scores).sum(-1).max() <= 1.0 < relu_weights(scores).sum(-1).min()


@pytest.mark.parametrize(
    "values", [{"activation": "gelu", "weighting": "relu"}, {"activation": "relu", "weighting": "max"}]
)
def test_unknown_functions_are_refused(values):
    with pytest.raises(ValueError, match="is not allowed; use"):
        Functions(**values)
