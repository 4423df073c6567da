"""The walker reaches every block that can fuse, at any depth, and works on a copy."""

import torch
from torch import nn

from edge_vit.layers.conv_norm import ConvNorm
from edge_vit.layers.drop_path import DropPath
from edge_vit.layers.fuse import fuse


def test_walks_to_any_depth_on_a_copy():
    model = nn.Sequential(ConvNorm(3, 4), nn.Sequential(nn.ReLU(), nn.ModuleDict({"a": DropPath(0.1)}))).train()
    fused = fuse(model)
    assert isinstance(fused[0], nn.Conv2d) and isinstance(fused[1][1]["a"], nn.Identity)
    assert isinstance(model[0], ConvNorm) and model.training and not fused.training
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(fused[0](x), model[0].eval()(x))
