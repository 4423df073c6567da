"""Loading is strict: whatever does not fit is named, and nothing is loaded by halves."""

import re

import pytest
import torch

from edge_vit.models.checkpoint_io import write_checkpoint
from edge_vit.models.registry import create_model
from edge_vit.models.weights import WithoutRandomValues, compact, fitting_variants, load_weights, require_fit

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


def test_where_nothing_fits_the_file_s_keys_and_its_variants_are_named(tensors):
    other = create_model("levit_192", num_classes=7, resolution=160).state_dict()
    refuse(other, r"Its keys are stem\.0\.conv\.weight, .*, \.\.\.; it fits levit_192$")
    refuse({"a": torch.zeros(2), "b": torch.zeros(3)}, r"keys; is it for another variant\? Its keys are a, b$")
    wide = {**tensors, "stem.0.conv.weight": torch.zeros(16, 3, 5, 5)}
    refuse(wide, r"stem\.0\.conv\.weight has shape .*; is it another variant, or another number of classes\?$")


@pytest.mark.parametrize("name", ["levit_384", "efficientvit_m3", "fastervit_0", "fastervit_edge_0"])
def test_a_state_dict_fits_its_variant_alone(name):
    with torch.device("meta"):
        state = create_model(name, num_classes=3, resolution=320 if name == "levit_384" else None).state_dict()
    # The any-resolution networks have the same weights.
    assert set(fitting_variants(state)) == {name, *({f"{name}_any_res"} if name == "fastervit_0" else ())}
    require_fit(state, name)
    with pytest.raises(ValueError, match=r"holds no weights of levit_256: "):
        require_fit(state, "levit_256")


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


@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0", "fastervit_0", "fastervit_edge_0"])
def test_a_model_made_without_random_values_loads_as_any_other(name):
    torch.manual_seed(0)
    state = create_model(name, num_classes=3).state_dict()
    drawn = torch.get_rng_state()
    with WithoutRandomValues():
        model = create_model(name, num_classes=3)
    assert torch.equal(torch.get_rng_state(), drawn), "nothing is drawn"
    fresh, other = dict(create_model(name, num_classes=3).named_buffers()), dict(model.named_buffers())
    assert all(torch.equal(fresh[key], other[key]) for key in fresh), "what follows from the config is as ever"
    load_weights(model, state)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())


def test_half_precision_storage(tensors):
    stored = compact(tensors)
    assert stored["stem.0.conv.weight"].dtype == torch.float16
    assert stored["stem.0.norm.running_var"].dtype == torch.float32
    assert stored["stages.0.blocks.0.attn.bias.table"].dtype == torch.float32
    model = create_model(NAME, num_classes=10)
    load_weights(model, stored)
    assert torch.equal(model.state_dict()["stem.0.conv.weight"], tensors["stem.0.conv.weight"].half().float())
