"""Loading is strict: whatever does not fit is named, and nothing is loaded by halves."""

import re

import pytest
import torch

from edge_vit.models.checkpoint_io import write_checkpoint
from edge_vit.models.registry import create_model
from edge_vit.models.weights import compact, load_weights

NAME = "levit_128s"


@pytest.fixture(scope="module")
def tensors():
    return create_model(NAME, num_classes=10).state_dict()


def refuse(tensors, message, **create):
    model = create_model(NAME, **({"num_classes": 10} | create))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(model, tensors)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_missing_key(tensors):
    less = {key: value for key, value in tensors.items() if key != "head.linear.bias"}
    refuse(less, re.escape("does not fit levit_128s: 1 missing (head.linear.bias) keys; is it for another variant?"))


def test_unexpected_key(tensors):
    refuse({**tensors, "extra": torch.zeros(1)}, r"1 unexpected \(extra\) keys")


def test_another_variant(tensors):
    other = create_model("levit_192", num_classes=10).state_dict()
    refuse(other, r"does not fit levit_128s: \d+ unexpected \(stages.*, \.\.\.\) keys")


def test_other_number_of_classes(tensors):
    message = r"head\.linear\.weight has shape \(10, 384\), levit_128s needs \(1000, 384\); .*another number of classes"
    refuse(tensors, message, num_classes=1000)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(tensors, value):
    bad = tensors["stem.0.conv.weight"].clone()
    bad[0, 0, 0, 0] = value
    refuse({**tensors, "stem.0.conv.weight": bad}, r"stem\.0\.conv\.weight holds NaN or infinity; the file is damaged")


def test_metadata_names_another_model(tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, tensors, {"model": "levit_192"})
    refuse(path, r"x\.safetensors is for levit_192, not levit_128s; name that model")


def test_report_and_metadata(tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, tensors, {"model": NAME, "classes": ["a"]})
    report = load_weights(create_model(NAME, num_classes=10), path)
    assert (report.naming, report.resized, report.metadata["classes"]) == ("own", (), ["a"])


def test_tables_follow_the_resolution_and_are_exact_when_equal(tensors):
    table = "stages.0.blocks.0.attn.bias.table"
    tensors = {**tensors, table: torch.randn(4, 196)}
    same, other = create_model(NAME, num_classes=10), create_model(NAME, num_classes=10, resolution=160)
    assert load_weights(same, tensors).resized == () and torch.equal(same.state_dict()[table], tensors[table])
    report = load_weights(other, tensors)
    assert table in report.resized and len(report.resized) == 11
    assert other.state_dict()[table].shape == (4, 100)
    assert torch.equal(other.state_dict()[table][:, 0], tensors[table][:, 0])


def test_half_precision_storage(tensors):
    stored = compact(tensors)
    assert stored["stem.0.conv.weight"].dtype == torch.float16
    assert stored["stem.0.norm.running_var"].dtype == torch.float32
    assert stored["stages.0.blocks.0.attn.bias.table"].dtype == torch.float32
    model = create_model(NAME, num_classes=10)
    load_weights(model, stored)
    assert torch.equal(model.state_dict()["stem.0.conv.weight"], tensors["stem.0.conv.weight"].half().float())
