"""LeViT against the published implementation's logits, its deploy form and its graph."""

import pytest
import torch

from edge_vit.layers.fuse import fuse
from edge_vit.models.levit import LEVIT_VARIANTS, LeViT, LeViTConfig, remap_checkpoint
from edge_vit.models.registry import create_model
from edge_vit.models.weights import load_weights

PUBLISHED_VARIANTS = [name for name in LEVIT_VARIANTS if "_edge_" not in name]
TINY = LeViTConfig(embed_dim=(32, 64, 96), key_dim=16, num_heads=(2, 3, 4), depths=(1, 1, 1), resolution=96)


def four_axis(tensors):
    """Turn timm's linear file into its convolution file (levit_conv_*)."""
    is_matrix = {key for key, value in tensors.items() if value.dim() == 2 and key.endswith("linear.weight")}
    return {
        key: value[:, :, None, None] if key in is_matrix and key.startswith("stages.") else value
        for key, value in tensors.items()
    }


@pytest.mark.parametrize("name", PUBLISHED_VARIANTS)
@torch.no_grad()
def test_equals_published_logits_in_both_forms(name, goldens):
    model = create_model(name).eval()
    report = load_weights(model, goldens.official(name))
    assert (report.naming, report.resized) == ("official", ())
    images = goldens.images()
    assert goldens.error(model(images), name) < 1e-4
    assert goldens.error(fuse(model)(images), name) < 1e-4
    # One image at a time takes another path through the attention's bias than a batch.
    assert goldens.error(torch.cat([fuse(model)(image[None]) for image in images]), name) < 1e-4


@pytest.mark.parametrize("name", PUBLISHED_VARIANTS)
def test_timm_files_carry_the_same_tensors(name, goldens):
    official = goldens.official(name)
    timm = goldens.timm(name, official)
    want = remap_checkpoint(official, LEVIT_VARIANTS[name])
    for tensors in (timm, four_axis(timm)):
        got = remap_checkpoint(tensors, LEVIT_VARIANTS[name])
        assert got.keys() == want.keys() and all(torch.equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize("form", ["linear", "conv"])
@torch.no_grad()
def test_timm_files_give_the_published_logits(form, goldens):
    tensors = goldens.timm("levit_128s")
    model = create_model("levit_128s").eval()
    assert load_weights(model, four_axis(tensors) if form == "conv" else tensors).naming == "timm"
    assert goldens.error(model(goldens.images()), "levit_128s") < 1e-4


def test_own_checkpoint_round_trip(goldens):
    model, again = create_model("levit_128s"), create_model("levit_128s")
    load_weights(model, goldens.official("levit_128s"))
    assert load_weights(again, model.state_dict()).naming == "own"
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("resolution", [224, 160])
def test_deploy_graph_is_clean(resolution, deploy_graph):
    model = create_model("levit_128s", resolution=resolution)
    operators = deploy_graph(fuse(model), resolution)
    assert len(operators) <= 320
    softmaxes = sum("softmax" in name for name in operators)
    assert softmaxes == 11 and sum("bmm" in name for name in operators) == 22


@pytest.mark.parametrize("resolution", [96, 128, 176])
@torch.no_grad()
def test_fused_equals_training_form_at_other_resolutions(resolution, randomise_):
    model = randomise_(create_model("levit_128s", num_classes=7, resolution=resolution)).eval()
    images = torch.randn(3, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    want = model(images)
    assert want.shape == (3, 7) and want.std() > 0
    torch.testing.assert_close(fuse(model)(images), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_fuse_leaves_the_model_alone():
    model = LeViT(TINY).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fuse(model)
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@torch.no_grad()
def test_no_state_is_left_over_from_an_earlier_forward():
    model = LeViT(TINY).eval()
    images = torch.randn(1, 3, 96, 96)
    before = model(images)
    model.stages[0].blocks[0].attn.bias.table.normal_()
    model.stages[0].blocks[0].attn.proj.norm.weight.fill_(1.0)
    assert not torch.allclose(model(images), before)
    torch.testing.assert_close(fuse(model)(images), model(images), rtol=1e-4, atol=1e-4)


def test_every_parameter_learns(randomise_):
    model = randomise_(LeViT(TINY)).train()
    class_logits, distillation_logits = model(torch.randn(4, 3, 96, 96))
    (class_logits.square().mean() + distillation_logits.square().mean()).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_blocks_start_as_the_identity():
    block = LeViT(TINY).stages[0].blocks[0].eval()
    tokens = torch.randn(2, 36, 32)
    assert torch.equal(block(tokens), tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 100}, "resolution 100 is not allowed; use a multiple of 16 from 64 up"),
        ({"resolution": 48}, "resolution 48 is not allowed"),
        ({"num_classes": 0}, "num_classes 0 is not allowed; use 1 or more"),
        ({"drop_path": 1.0}, "drop_path 1.0 is not allowed; use 0 up to, not including, 1"),
    ],
)
def test_bad_config(change, message):
    fields = {"embed_dim": (32, 64, 96), "key_dim": 16, "num_heads": (2, 3, 4), "depths": (1, 1, 1)}
    with pytest.raises(ValueError, match=message):
        LeViTConfig(**(fields | change))
