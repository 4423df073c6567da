"""EfficientViT against the published implementation's logits, its deploy form and its graph."""

import dataclasses

import pytest
import torch

from edge_vit.layers.fuse import fuse
from edge_vit.models.efficientvit import (
    EFFICIENTVIT_VARIANTS,
    DepthwiseResidual,
    EfficientViT,
    EfficientViTConfig,
    remap_checkpoint,
)
from edge_vit.models.registry import create_model
from edge_vit.models.weights import load_weights

PUBLISHED_VARIANTS = [name for name in EFFICIENTVIT_VARIANTS if "_edge_" not in name]
TINY = EfficientViTConfig(
    embed_dim=(32, 48, 64), depths=(1, 1, 1), num_heads=(2, 3, 2), kernel_sizes=(5, 3, 3), resolution=96
)


@pytest.mark.parametrize("name", PUBLISHED_VARIANTS)
@torch.no_grad()
def test_equals_published_logits_in_both_forms(name, goldens):
    model = create_model(name).eval()
    assert load_weights(model, goldens.official(name)).naming == "official"
    images = goldens.images()
    assert goldens.error(model(images), name) < 1e-4
    fused = fuse(model)
    assert goldens.error(fused(images), name) < 1e-4
    assert goldens.error(torch.cat([fused(image[None]) for image in images]), name) < 1e-4


@pytest.mark.parametrize("name", PUBLISHED_VARIANTS)
def test_timm_files_carry_the_same_tensors(name, goldens):
    official = goldens.official(name)
    want = remap_checkpoint(official, EFFICIENTVIT_VARIANTS[name])
    got = remap_checkpoint(goldens.timm(name, official), EFFICIENTVIT_VARIANTS[name])
    assert got.keys() == want.keys() and all(torch.equal(got[key], want[key]) for key in want)


@torch.no_grad()
def test_timm_file_gives_the_published_logits(goldens):
    model = create_model("efficientvit_m0").eval()
    assert load_weights(model, goldens.timm("efficientvit_m0")).naming == "timm"
    assert goldens.error(model(goldens.images()), "efficientvit_m0") < 1e-4


@pytest.mark.parametrize("resolution", [224, 256])
def test_deploy_graph_is_clean(resolution, deploy_graph):
    operators = deploy_graph(fuse(create_model("efficientvit_m1", resolution=resolution)), resolution)
    # One pad and one crop an attention, only where a grid is no multiple of its window.
    assert sum("pad" in name for name in operators) == {224: 0, 256: 3}[resolution]
    assert sum("softmax" in name for name in operators) == 2 + 2 * 3 + 3 * 3


@pytest.mark.parametrize("resolution", [64, 160, 192, 256])
@torch.no_grad()
def test_fused_equals_training_form_at_other_resolutions(resolution, randomise_):
    model = randomise_(create_model("efficientvit_m0", num_classes=7, resolution=resolution)).eval()
    images = torch.randn(3, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    want = model(images)
    assert want.shape == (3, 7) and want.std() > 0
    torch.testing.assert_close(fuse(model)(images), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_residual_folds_into_the_kernel(randomise_):
    layer = randomise_(DepthwiseResidual(6, drop_path=0.0)).eval()
    x = torch.randn(2, 6, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(layer.fuse()(x), layer(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_heads_form_a_cascade(randomise_):
    attn = randomise_(EfficientViT(TINY)).stages[1].blocks[0].attn.eval()
    attn.proj.conv.weight.copy_(torch.eye(48)[:, :, None, None])
    x = torch.randn(1, 48, 3, 3)
    changed = x.clone()
    changed[:, 16:32] += 1.0  # the second head's share
    moved = (attn(changed) - changed - attn(x) + x).abs().amax((0, 2, 3)).view(3, 16).amax(1)
    assert moved[0] < 1e-6 and moved[1] > 1e-3 and moved[2] > 1e-3


def test_every_parameter_learns(randomise_):
    model = randomise_(EfficientViT(dataclasses.replace(TINY, drop_path=0.1))).train()
    torch.manual_seed(0)
    model(torch.randn(8, 3, 96, 96)).square().mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_bias_tables_follow_the_resolution(goldens):
    small = create_model("efficientvit_m0", resolution=160)
    resized = load_weights(small, goldens.official("efficientvit_m0")).resized
    # Grids of 10, 5 and 3: the first still has windows of 7, the others are one window each.
    assert {key.split(".")[1] for key in resized} == {"1", "2"}
    assert small.state_dict()["stages.2.blocks.0.attn.bias.table"].shape == (4, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 100}, "resolution 100 is not allowed; use a multiple of 16 from 64 up"),
        ({"num_classes": 0}, "num_classes 0 is not allowed; use 1 or more"),
        ({"drop_path": 1.0}, "drop_path 1.0 is not allowed"),
        ({"kernel_sizes": (3,)}, "1 kernel_sizes for 3 heads; give one a head"),
        ({"embed_dim": (32, 49, 64)}, r"embed_dim \(32, 49, 64\) is not allowed; use multiples of num_heads \(2, 3"),
    ],
)
def test_bad_config(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)
