"""Which weights a command takes, and that it says so."""

import shutil

import pytest

from edge_vit.models import sources
from edge_vit.models.checkpoint_io import write_checkpoint
from edge_vit.models.sources import find_weights, resolve_label


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHECKPOINT_FOLDER", tmp_path / "embedded")
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "embedded"


def write(path, **metadata):
    import torch

    write_checkpoint(path, {"x": torch.zeros(1)}, metadata)


def test_auto_prefers_what_is_embedded(folder):
    write(folder / "levit_128s_float.safetensors", form="training")
    write(folder / "levit_128s_int8.safetensors", form="int8", float_file="levit_128s_float.safetensors")
    quantized = find_weights("levit_128s", "auto", prefer_quantized=True)
    assert (quantized.label, quantized.form) == ("embedded:levit_128s_int8.safetensors", "int8")
    assert quantized.float_label == "embedded:levit_128s_float.safetensors"
    plain = find_weights("levit_128s", "auto", prefer_quantized=False)
    assert plain.label == "embedded:levit_128s_float.safetensors" and plain.form == "training"
    assert resolve_label(plain.label) == folder / "levit_128s_float.safetensors"


def test_moved_checkpoint_finds_its_float_beside_it(folder, tmp_path):
    write(folder / "a_float.safetensors", form="training")
    write(folder / "a_int8.safetensors", form="int8", float_file="a_float.safetensors")
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert find_weights("levit_128s", str(moved / "a_int8.safetensors"), True).float_label == str(
        moved / "a_float.safetensors"
    )
    (moved / "a_float.safetensors").unlink()
    assert find_weights("levit_128s", str(moved / "a_int8.safetensors"), True).float_label == ""


def test_random_needs_no_file():
    assert find_weights("levit_256", "random", True).form == "random"


def test_unknown_form_and_missing_file(folder, tmp_path):
    write(tmp_path / "later.safetensors", form="int4")
    with pytest.raises(ValueError, match="form 'int4'; this version knows training and int8"):
        find_weights("levit_128s", str(tmp_path / "later.safetensors"), False)
    with pytest.raises(ValueError, match="does not exist"):
        find_weights("levit_128s", str(tmp_path / "gone.safetensors"), False)
