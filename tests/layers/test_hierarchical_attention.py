"""Hierarchical attention as a block of any network: maps in, maps out, news across windows only through carriers."""

import pytest
import torch
from torch import nn

from edge_vit.layers.fuse import fuse
from edge_vit.layers.hierarchical_attention import CarrierInit, HierarchicalAttention, Propagation
from edge_vit.layers.windows import WindowGeometry

SHAPES = {
    "published": dict(grid=(14, 14), window_size=7),
    "padded": dict(grid=(10, 12), window_size=4),
    "rectangle": dict(grid=(6, 12), window_size=6, carrier_size=3),
    "one window": dict(grid=(5, 5), window_size=7),
    "no carriers": dict(grid=(8, 8), window_size=4, carrier_size=0),
    "scaled": dict(grid=(8, 8), window_size=4, layer_scale=0.5),
    "propagated": dict(grid=(14, 14), window_size=7, layer_scale=0.5, propagate=True),
}


def make(name, randomise_, depth=2, dim=16):
    torch.manual_seed(0)
    return randomise_(HierarchicalAttention(dim, 2, drop_paths=[0.0] * depth, **SHAPES[name])).eval()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_fused_equals_training_form(name, batch, randomise_):
    module = make(name, randomise_)
    x = torch.randn(batch, 16, *SHAPES[name]["grid"])
    want = module(x)
    assert want.shape == x.shape
    torch.testing.assert_close(fuse(module)(x), want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["published", "no carriers"])
@torch.no_grad()
def test_news_cross_windows_through_carriers_alone(name, randomise_):
    module = make(name, randomise_)
    x = torch.randn(1, 16, *SHAPES[name]["grid"])
    changed = x.clone()
    changed[:, ::2, 0, 0] += 3.0  # half the channels: a layer norm would hide a change of all
    moved = (module(changed) - module(x)).abs().amax(1)[0]
    assert moved[0, 1] > 1e-3
    assert (moved[-1, -1] > 1e-6) == (name == "published")


def test_carriers_average_their_share_of_the_window():
    geometry = WindowGeometry((8, 8), 4)
    carriers = CarrierInit(3, geometry, 2)
    nn.init.dirac_(carriers.conv.weight, groups=3)
    nn.init.zeros_(carriers.conv.bias)
    x = torch.randn(2, 3, 8, 8)
    got = carriers(x)
    assert got.shape == (2 * 4, 4, 3)
    torch.testing.assert_close(got[1, 2], x[0, :, 2:4, 4:6].mean((1, 2)))  # upper right window, lower left carrier


def test_pools_overlap_on_the_published_grid():
    pool = CarrierInit(3, WindowGeometry((14, 14), 7), 2).pool
    assert (pool.kernel_size, pool.stride) == ((5, 5), (3, 3))


def test_propagation_is_nearest_upsampling():
    carriers = torch.randn(2, 4, 3)
    got = Propagation(7, 2)(torch.zeros(2, 49, 3), carriers, torch.ones(3))
    want = nn.functional.interpolate(carriers.transpose(1, 2).reshape(2, 3, 2, 2), size=7, mode="nearest")
    torch.testing.assert_close(got.transpose(1, 2).reshape(2, 3, 7, 7), want)


def test_every_parameter_learns_inside_another_network(randomise_):
    attention = HierarchicalAttention(8, 2, (6, 6), 3, [0.1, 0.1], carrier_size=1, layer_scale=0.5, propagate=True)
    network = randomise_(nn.Sequential(nn.Conv2d(3, 8, 1), attention)).train()
    network(torch.randn(8, 3, 6, 6)).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The last block's carriers end there unless they are propagated, as here.
    assert idle == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "3 heads do not divide 16 channels; give a divisor"),
        ({"carrier_size": 9}, "carrier_size 9 is larger than the windows; use less, or 0 for none"),
        ({"propagate": True}, "propagate needs carriers and layer_scale; give both, or leave it off"),
    ],
)
def test_bad_arguments(change, message):
    arguments = dict(dim=16, num_heads=2, grid=(8, 8), window_size=4, drop_paths=[0.0])
    with pytest.raises(ValueError, match=message):
        HierarchicalAttention(**(arguments | change))
