"""Folding a norm into its neighbour gives the same function."""

import pytest
import torch

from edge_vit.layers.conv_norm import ConvNorm, LinearNorm, NormLinear

CASES = {
    "conv": (ConvNorm(6, 10, 3, stride=2, padding=1), (2, 6, 9, 9)),
    "depthwise": (ConvNorm(6, 6, 5, padding=2, groups=6), (2, 6, 7, 7)),
    "with a bias": (ConvNorm(6, 10, 3, padding=1, bias=True), (2, 6, 7, 7)),
    "linear": (LinearNorm(6, 10), (2, 5, 6)),
    "head": (NormLinear(6, 10), (4, 6)),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_fused_layer_equals_the_pair(case):
    layer, shape = CASES[case]
    generator = torch.Generator().manual_seed(3)
    for tensor in layer.norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.3)
    x = torch.randn(shape, generator=generator)
    want = layer.eval()(x)
    fused = layer.fuse()
    assert fused.bias is not None and not any("Norm" in type(m).__name__ for m in fused.modules())
    torch.testing.assert_close(fused(x), want, rtol=2e-6, atol=2e-6)


def test_norm_weight_init_makes_a_branch_start_at_zero():
    assert not ConvNorm(3, 4, norm_weight_init=0.0)(torch.randn(2, 3, 5, 5)).any()
    assert not LinearNorm(3, 4, norm_weight_init=0.0)(torch.randn(2, 5, 3)).any()
