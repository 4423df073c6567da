"""transformers' own LeViT, an independent implementation, and ours give the same logits from the same file."""

import re

import pytest
import torch
from torch import nn

from edge_vit.layers.fuse import fuse
from edge_vit.models.levit import LEVIT_VARIANTS
from edge_vit.models.registry import create_model
from edge_vit.models.weights import fitting_variants, load_backbone, load_weights

pytest.importorskip("transformers", reason="transformers is not installed; it comes with litert-torch")
from hugging_face import config_of, filled, pictures

TOLERANCE = 1e-5
VARIANTS = [name for name in LEVIT_VARIANTS if "_edge_" not in name]


@pytest.mark.parametrize("with_teacher", [True, False], ids=["teacher", "alone"])
@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_logits_are_those_of_transformers(name, with_teacher):
    theirs = filled(config_of(name), with_teacher)
    images = pictures(224)[:3]
    want = theirs(images).logits
    scale = float(want.abs().max())
    between = min(float((want[i] - want[j]).abs().max()) for i, j in ((0, 1), (0, 2), (1, 2))) / scale
    assert between > 1000 * TOLERANCE, "logits that hardly depend on the picture prove nothing"
    model = create_model(name).eval()
    report = load_weights(model, theirs.state_dict())
    assert (report.naming, report.resized, report.left_out) == ("transformers", (), ())
    assert float((model(images) - want).abs().max()) / scale < TOLERANCE
    assert float((fuse(model)(images) - want).abs().max()) / scale < TOLERANCE


@pytest.fixture(scope="module")
def theirs():
    return filled(config_of("levit_128s", num_labels=3), with_teacher=True)


def wrapped(kind, model):
    holder = nn.Module()
    if kind == "DataParallel":
        return nn.DataParallel(model).state_dict()
    if kind == "compile":
        return {"state_dict": torch.compile(model).state_dict()}
    if kind == "Lightning":
        holder.net = nn.DataParallel(model)
        return {"state_dict": holder.state_dict(), "epoch": 3}
    if kind == "Trainer under DeepSpeed":
        return {"module": model.state_dict()}
    return model.state_dict()


@pytest.mark.parametrize("kind", ["plain", "DataParallel", "compile", "Lightning", "Trainer under DeepSpeed"])
def test_in_any_wrapper(kind, theirs, tmp_path):
    torch.save(wrapped(kind, theirs), tmp_path / "x.pt")
    direct, model = (create_model("levit_128s", num_classes=3) for _ in range(2))
    load_weights(direct, theirs.state_dict())
    assert load_weights(model, tmp_path / "x.pt").naming == "transformers"
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in direct.state_dict().items())


def test_a_backbone_of_transformers(theirs, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "x.pt")
    model = create_model("levit_128s", num_classes=5, resolution=160)
    report = load_backbone(model, tmp_path / "x.pt")
    assert report.naming == "transformers" and len(report.resized) == 11
    assert {key.split(".")[0] for key in report.left_out} == {"head", "head_dist"} and len(report.left_out) == 12


def refuse(state, message):
    model = create_model("levit_128s", num_classes=3)
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(model, state)
    assert "\n" not in str(caught.value)


def test_strictly(theirs):
    state = theirs.state_dict()
    for key, ours in (
        ("levit.encoder.stages.0.layers.4.queries.linear.weight", "stages.1.downsample.attn.q.linear.weight"),
        ("levit.encoder.stages.1.layers.0.module.attention_biases", "stages.1.blocks.0.attn.bias.table"),
        ("classifier_distill.linear.bias", "head_dist.linear.bias"),
        ("classifier.batch_norm.running_mean", "head.norm.running_mean"),
    ):
        less = {name: value for name, value in state.items() if name != key}
        refuse(less, rf"does not fit levit_128s: 1 missing \({re.escape(ours)}\) keys; is it for another variant\?")
    refuse(state | {"levit.pooler.weight": torch.zeros(1)}, r"1 unexpected \(levit\.pooler\.weight\) keys")
    refuse(state | {"pooler.weight": torch.zeros(1)}, r"1 unexpected \(pooler\.weight\) keys")


def test_the_variant_that_a_file_fits_is_named(theirs):
    assert fitting_variants(theirs.state_dict()) == ("levit_128s", "levit_edge_128s")
    with pytest.raises(ValueError, match=r"does not fit levit_128: .*; it fits levit_128s, levit_edge_128s$"):
        load_weights(create_model("levit_128", num_classes=3), theirs.state_dict())
