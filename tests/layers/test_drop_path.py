"""Stochastic depth drops whole samples, keeps the mean, and is the identity outside training."""

import torch

from edge_vit.layers.drop_path import DropPath


def test_drops_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 3, 2))
    per_sample = dropped.flatten(1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert set(per_sample[:, 0].tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert abs(dropped.mean() - 1) < 0.03


def test_identity_in_eval_and_at_zero():
    x = torch.randn(2, 3)
    assert DropPath(0.5).eval()(x) is x and DropPath(0.0).train()(x) is x
    assert isinstance(DropPath(0.5).fuse(), torch.nn.Identity)
