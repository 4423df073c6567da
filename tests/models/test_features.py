"""Backbones give each stage's map at the stride they name, in both forms, from classifiers' checkpoints."""

import pytest
import torch

from edge_vit.layers.fuse import fuse
from edge_vit.models.registry import create_model
from edge_vit.models.weights import load_weights

CASES = {
    "levit_128s": ((128, 16), (256, 32), (384, 64)),
    "efficientvit_m0": ((64, 16), (128, 32), (192, 64)),
    "fastervit_0": ((64, 4), (128, 8), (256, 16), (512, 32)),
}


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_maps_have_the_named_channels_and_strides(name):
    model = create_model(name, resolution=128, features_only=True).eval()
    assert tuple((info.channels, info.stride) for info in model.feature_info) == CASES[name]
    images = torch.randn(2, 3, 128, 128)
    maps = model(images)
    assert [tuple(m.shape) for m in maps] == [(2, c, 128 // stride, 128 // stride) for c, stride in CASES[name]]
    for got, want in zip(fuse(model)(images), maps, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0"])
@torch.no_grad()
def test_last_map_is_what_the_classifier_pools(name, goldens):
    backbone, classifier = create_model(name, features_only=True).eval(), create_model(name).eval()
    load_weights(backbone, goldens.official(name))
    load_weights(classifier, goldens.official(name))
    images = goldens.images()
    pooled = backbone(images)[-1].mean((2, 3))
    heads = [classifier.head, classifier.head_dist] if name.startswith("levit") else [classifier.head]
    logits = torch.stack([head(pooled) for head in heads]).mean(0)
    assert goldens.error(logits, name) < 1e-4


def test_backbone_has_no_head_and_takes_its_own_checkpoint():
    model, again = (create_model("levit_128s", features_only=True) for _ in range(2))
    assert not any("head" in key for key in model.state_dict())
    assert load_weights(again, model.state_dict()).naming == "own"
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_backbone_still_refuses_other_keys():
    model = create_model("levit_128s", features_only=True)
    with pytest.raises(ValueError, match=r"1 unexpected \(neck\.weight\) keys"):
        load_weights(model, model.state_dict() | {"neck.weight": torch.zeros(1)})


def test_deploy_graph_is_clean(deploy_graph):
    deploy_graph(fuse(create_model("efficientvit_m0", features_only=True)))
