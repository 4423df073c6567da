"""A backbone is taken strictly, whoever named it; its head only where it tells the same classes apart."""

import re

import pytest
import torch

from edge_vit.models.checkpoint_io import Checkpoint, write_checkpoint
from edge_vit.models.imagenet import imagenet_classes
from edge_vit.models.registry import create_model
from edge_vit.models.weights import load_backbone, load_weights, randomize_

FAMILIES = {"levit_128s": ("head.", "head_dist."), "efficientvit_m0": ("head.",), "fastervit_edge_0": ("head.",)}
ABC = [{"id": name, "name": name.upper()} for name in "abc"]


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """Return a variant's name, its own checkpoint of three classes, and the state dict in it."""
    model = create_model(request.param, num_classes=3, resolution=64)
    randomize_(model)
    state = {key: value.clone() for key, value in model.state_dict().items() if "num_batches" not in key}
    path = tmp_path_factory.mktemp(request.param) / "three.safetensors"
    write_checkpoint(path, state, {"model": request.param, "classes": ABC})
    return request.param, path, state


def is_head(key, name):
    return key.startswith(FAMILIES[name])


def loaded(model, name, state):
    """Return whether backbone and head hold the values of `state`."""
    got = model.state_dict()
    backbone = all(torch.equal(got[key], value) for key, value in state.items() if not is_head(key, name))
    weights = [key for key in state if is_head(key, name) and state[key].dim() == 2]
    equal = {torch.equal(got[key], state[key]) for key in weights}
    assert len(equal) == 1, "heads are loaded together"
    return backbone, equal.pop()


@pytest.mark.parametrize("count", [2, 10])
def test_another_number_of_classes_leaves_every_head_as_it_was(trained, count):
    name, path, state = trained
    model = create_model(name, num_classes=count, resolution=64)
    fresh = {key: value.clone() for key, value in model.state_dict().items() if is_head(key, name)}
    report = load_backbone(model, path, [{"id": str(i), "name": str(i)} for i in range(count)])
    assert sorted(report.left_out) == sorted(key for key in state if is_head(key, name))
    assert {key.split(".")[0] + "." for key in report.left_out} == set(FAMILIES[name])
    got = model.state_dict()
    assert all(torch.equal(got[key], value) for key, value in fresh.items())
    assert all(torch.equal(got[key], value) for key, value in state.items() if not is_head(key, name))
    assert report.naming == "own" and report.metadata["classes"] == ABC


@pytest.mark.parametrize(
    ("classes", "is_kept"),
    [
        (ABC, True),
        ([{"id": entry["id"], "name": "other"} for entry in ABC], True),
        (ABC[::-1], False),
        ([{"id": "x", "name": "A"}, *ABC[1:]], False),
        (None, True),
    ],
    ids=["the same", "other names", "another order", "another class", "not told"],
)
def test_a_head_is_kept_where_its_classes_are_the_same(trained, classes, is_kept):
    name, path, state = trained
    model = create_model(name, num_classes=3, resolution=64)
    report = load_backbone(model, Checkpoint(path), classes)
    assert loaded(model, name, state) == (True, is_kept)
    assert bool(report.left_out) is not is_kept


def test_classes_that_a_file_does_not_list_are_not_the_same(trained, tmp_path):
    name, _, state = trained
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    model = create_model(name, num_classes=3, resolution=64)
    assert load_backbone(model, tmp_path / "x.pth", ABC).left_out
    assert loaded(model, name, state) == (True, False)


def test_tables_follow_the_resolution(trained):
    name, path, state = trained
    model = create_model(name, num_classes=10, resolution=128)
    tables = [key for key, value in model.state_dict().items() if key.endswith("bias.table")]
    want = [key for key in tables if state[key].shape != model.state_dict()[key].shape]
    report = load_backbone(model, path)
    assert sorted(report.resized) == sorted(want) and bool(tables) == (name != "fastervit_edge_0")


@pytest.mark.parametrize(
    ("name", "naming"),
    [
        ("levit_128s", "timm"),
        ("efficientvit_m0", "timm"),
        *((name, "official") for name in ("levit_192", "fastervit_0")),
    ],
)
@torch.no_grad()
def test_foreign_names(name, naming, goldens, tmp_path):
    """A thousand classes in the authors' or timm's names, in a wrapper: all but the head is as in a whole load."""
    tensors = goldens.timm(name) if naming == "timm" else goldens.official(name)
    torch.save({"model": {f"module.{key}": value for key, value in tensors.items()}}, tmp_path / "x.pth")
    model, whole = create_model(name, num_classes=5), create_model(name)
    report = load_backbone(model, tmp_path / "x.pth", [{"id": str(i), "name": str(i)} for i in range(5)])
    load_weights(whole, tensors)
    assert (report.naming, len(report.notes)) == (naming, 2)
    want = {key: value for key, value in whole.state_dict().items() if not key.startswith(("head.", "head_dist."))}
    assert all(torch.equal(model.state_dict()[key], value) for key, value in want.items() if "num_batches" not in key)


def refuse(name, state, tmp_path, message):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, state, {})
    model = create_model(name, num_classes=5, resolution=64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_backbone(model, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_head_that_cannot_be_told(trained, tmp_path):
    name, _, state = trained
    keys = {"fastervit_edge_0": r"head\.weight", "efficientvit_m0": r"head\.linear\.weight"}
    wanted = keys.get(name, r"head\.linear\.weight, head_dist\.linear\.weight")
    less = {key: value for key, value in state.items() if not is_head(key, name)}
    message = rf"x\.safetensors has no head \({wanted}\); give a checkpoint of a classifier$"
    refuse(name, less, tmp_path, message)
    refuse(name, less | {"head.other": torch.zeros(3, 3)}, tmp_path, message)


def test_the_backbone_is_strict(trained, tmp_path):
    name, _, state = trained
    first = next(iter(state))
    less = {key: value for key, value in state.items() if key != first}
    refuse(name, less, tmp_path, rf"does not fit {name}: 1 missing \({re.escape(first)}\) keys")
    refuse(name, {**state, "extra": torch.zeros(1)}, tmp_path, r"1 unexpected \(extra\) keys")
    refuse(name, {**state, "head.extra": torch.zeros(1)}, tmp_path, r"1 unexpected \(head\.extra\) keys")
    refuse(name, {**state, first: torch.zeros(1)}, tmp_path, rf"{re.escape(first)} has shape \(1,\), {name} needs")
    refuse(name, {**state, first: state[first] * float("nan")}, tmp_path, "holds NaN or infinity")


def test_an_edge_variant_starts_from_its_original(tmp_path):
    state = create_model("levit_128s", num_classes=3).state_dict()
    write_checkpoint(tmp_path / "x.safetensors", state, {"model": "levit_128s", "classes": ABC})
    model = create_model("levit_edge_128s", num_classes=10)
    assert load_backbone(model, tmp_path / "x.safetensors").left_out


def test_a_thousand_classes_that_nobody_named_are_imagenet_s(tmp_path):
    state = {key: value for key, value in create_model("levit_128s").state_dict().items() if "num_batches" not in key}
    torch.save({"model": state}, tmp_path / "x.pth")
    others = [{"id": str(i), "name": str(i)} for i in range(1000)]
    assert load_backbone(create_model("levit_128s"), tmp_path / "x.pth", imagenet_classes()).left_out == ()
    assert load_backbone(create_model("levit_128s"), tmp_path / "x.pth", others).left_out
