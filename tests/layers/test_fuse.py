"""The walker reaches every block that can fuse, at any depth, and works on a copy."""

import pytest
import torch
from torch import nn

from edge_vit.layers.conv_norm import ConvNorm
from edge_vit.layers.drop_path import DropPath
from edge_vit.layers.fuse import fuse
from edge_vit.models.registry import create_model


def test_walks_to_any_depth_on_a_copy():
    model = nn.Sequential(ConvNorm(3, 4), nn.Sequential(nn.ReLU(), nn.ModuleDict({"a": DropPath(0.1)}))).train()
    fused = fuse(model)
    assert isinstance(fused[0], nn.Conv2d) and isinstance(fused[1][1]["a"], nn.Identity)
    assert isinstance(model[0], ConvNorm) and model.training and not fused.training
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(fused[0](x), model[0].eval()(x))


@pytest.mark.parametrize(
    "name", ["levit_128s", "efficientvit_m0", "efficientvit_edge_m4", "fastervit_0", "fastervit_edge_0"]
)
def test_no_random_values_are_drawn_to_be_overwritten(name):
    """Drawing them takes minutes in the largest networks."""
    model = create_model(name, num_classes=3)
    before = torch.get_rng_state()
    fuse(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_are_fused_where_they_are():
    with torch.device("meta"):
        fused = fuse(create_model("fastervit_0"))
    assert {tensor.device.type for tensor in (*fused.parameters(), *fused.buffers())} == {"meta"}
