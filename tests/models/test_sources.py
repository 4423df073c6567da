"""Which weights a command takes, and that it says so."""

import shutil

import pytest

from edge_vit.models import sources
from edge_vit.models.checkpoint_io import write_checkpoint
from edge_vit.models.sources import find_weights, recorded_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHECKPOINT_FOLDER", tmp_path / "embedded")
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "embedded"


def write(path, **metadata):
    import torch

    write_checkpoint(path, {"x": torch.zeros(1)}, ({"ranges": {}} if metadata.get("form") == "int8" else {}) | metadata)


def test_auto_prefers_what_is_embedded(folder):
    write(folder / "levit_128s_float.safetensors", form="training")
    write(folder / "levit_128s_int8.safetensors", form="int8", float_file="levit_128s_float.safetensors")
    quantized = find_weights("levit_128s", "auto", prefer_quantized=True)
    assert (quantized.label, quantized.form) == ("embedded:levit_128s_int8.safetensors", "int8")
    assert quantized.float_source.label == "embedded:levit_128s_float.safetensors"
    plain = find_weights("levit_128s", "auto", prefer_quantized=False)
    assert plain.label == "embedded:levit_128s_float.safetensors" and plain.form == "training"
    assert recorded_weights(plain.label, folder).path == folder / "levit_128s_float.safetensors"


def test_moved_checkpoint_finds_its_float_beside_it(folder, tmp_path):
    write(folder / "a_float.safetensors", form="training")
    write(folder / "a_int8.safetensors", form="int8", float_file="a_float.safetensors")
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    found = find_weights("levit_128s", str(moved / "a_int8.safetensors"), True)
    assert found.float_source.label == str(moved / "a_float.safetensors")
    (moved / "a_float.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"needs the float checkpoint that it came from, which a_float\.safetensors, is"
    ):
        _ = find_weights("levit_128s", str(moved / "a_int8.safetensors"), True).float_source


def test_random_needs_no_file():
    assert find_weights("levit_256", "random", True).form == "random"


def test_unknown_form_and_missing_file(folder, tmp_path):
    write(tmp_path / "later.safetensors", form="int4")
    with pytest.raises(ValueError, match="form 'int4'; this version knows training and int8"):
        find_weights("levit_128s", str(tmp_path / "later.safetensors"), False)
    with pytest.raises(ValueError, match="does not exist"):
        find_weights("levit_128s", str(tmp_path / "gone.safetensors"), False)


def test_a_path_is_recorded_so_that_it_is_found_from_anywhere(folder, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "w.safetensors")
    monkeypatch.chdir(tmp_path / "here")
    found = find_weights("levit_128s", "w.safetensors", False)
    assert found.label == str(tmp_path / "here" / "w.safetensors") and found.name == "w.safetensors"
    monkeypatch.chdir(tmp_path)
    assert recorded_weights(found.label, tmp_path).path == tmp_path / "here" / "w.safetensors"


def test_weights_that_travel_with_the_manifest_are_found_beside_it(folder, tmp_path):
    write(tmp_path / "before" / "w.safetensors")
    label = find_weights("levit_128s", str(tmp_path / "before" / "w.safetensors"), False).label
    (tmp_path / "before").rename(tmp_path / "after")
    assert recorded_weights(label, tmp_path / "after").path == tmp_path / "after" / "w.safetensors"
    with pytest.raises(ValueError, match=r"the float weights .*w\.safetensors are not here; give a float artefact"):
        recorded_weights(label, tmp_path)


def test_the_choice_between_raw_and_averaged_is_recorded(folder, tmp_path):
    import torch

    path = tmp_path / "w.pth"
    torch.save({"model": {"x": torch.zeros(1)}, "model_ema": {"x": torch.ones(1)}}, path)
    for takes_raw, label, value in ((False, str(path), 1.0), (True, f"raw:{path}", 0.0)):
        found = find_weights("levit_128s", str(path), False, takes_raw=takes_raw)
        assert (found.label, found.name) == (label, "w.pth")
        assert recorded_weights(found.label, tmp_path).checkpoint.tensors["x"].item() == value


def test_raw_weights_belong_to_a_file():
    for choice in ("auto", "imagenet", "random"):
        with pytest.raises(ValueError, match="--raw-weights chooses between two sets of weights in a file; name it"):
            find_weights("levit_128s", choice, False, takes_raw=True)


def test_another_variant_is_refused_when_the_file_is_found(folder, tmp_path):
    write(tmp_path / "w.safetensors", model="levit_192")
    with pytest.raises(ValueError, match=r"w\.safetensors is for levit_192, not levit_128s; name that model"):
        find_weights("levit_128s", str(tmp_path / "w.safetensors"), False)


def test_integers_without_scales_or_ranges_are_refused_when_the_file_is_found(folder, tmp_path):
    import torch

    path = tmp_path / "w.safetensors"
    weight = torch.ones(3, 2, dtype=torch.int8)
    for scales, message in (
        ({}, r"w\.safetensors lacks a\.weight\.int8_scale; it is damaged, get it again"),
        ({"a.weight.int8_scale": torch.ones(2)}, r"w\.safetensors lacks a\.weight\.int8_scale"),
    ):
        write_checkpoint(path, {"a.weight": weight} | scales, {"form": "int8", "ranges": {}})
        with pytest.raises(ValueError, match=message):
            find_weights("levit_128s", str(path), False)
    write_checkpoint(path, {"a.weight": weight, "a.weight.int8_scale": torch.ones(3)}, {"form": "int8"})
    with pytest.raises(ValueError, match=r"w\.safetensors has no ranges; it is damaged, train or calibrate it again"):
        find_weights("levit_128s", str(path), False)


def test_resolution_is_that_of_the_weights_else_of_their_authors(folder, tmp_path):
    write(tmp_path / "ours.safetensors", resolution=128)
    write(tmp_path / "theirs.safetensors")
    write(tmp_path / "int8.safetensors", form="int8", resolution=160, float_file="ours.safetensors")

    def side(name, file, wanted=None):
        choice = "random" if file == "random" else str(tmp_path / f"{file}.safetensors")
        return find_weights(name, choice, False).resolution_for(name, wanted)

    assert side("levit_128s", "ours") == 128 and side("levit_128s", "ours", 96) == 96
    assert side("levit_128s", "theirs") == 224 and side("levit_edge_128s", "theirs") == 224
    assert [side(f"fastervit_4_21k_{size}", "theirs") for size in (224, 384, 512, 768)] == [224, 384, 512, 768]
    assert side("fastervit_4_21k_384", "random") == 384 and side("fastervit_0_any_res", "random") == 224
    assert side("levit_128s", "int8") == 160 and side("levit_128s", "int8", 160) == 160
    with pytest.raises(ValueError, match="was quantized at resolution 160, not 224; leave --resolution out, or"):
        side("levit_128s", "int8", 224)
