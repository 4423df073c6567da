"""The thousand names: in ImageNet's order, each its own; taken by checkpoints that name none."""

import json
from pathlib import Path

import pytest
import torch

from calibration.dataset import match_classes
from converters.manifest import ClassLabel
from edge_vit.api import load
from edge_vit.models.checkpoint_io import Checkpoint
from edge_vit.models.imagenet import imagenet_classes, is_imagenet
from edge_vit.models.sources import embedded_path


def test_the_order_is_that_of_synsets_and_every_name_is_its_own():
    classes = imagenet_classes()
    ids, names = [entry["id"] for entry in classes], [entry["name"] for entry in classes]
    assert len(ids) == 1000 and ids == sorted(set(ids)) and all(len(key) == 9 and key[0] == "n" for key in ids)
    assert len({name.casefold() for name in names}) == 1000 and all(name.isprintable() for name in names)
    # As everybody counts them, from 0.
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 574: "golf ball", 999: "toilet tissue"}
    assert {i: names[i] for i in known} == known
    classes[0]["name"] = "changed"
    assert imagenet_classes()[0]["name"] == "tench", "whoever changes a list changes his own"


def test_the_ten_classes_of_the_embedded_models_are_called_the_same():
    ours = Checkpoint(embedded_path("levit_128s", False)).metadata["classes"]
    known = {entry["id"]: entry["name"] for entry in imagenet_classes()}
    assert {entry["id"]: entry["name"] for entry in ours}.items() <= known.items()


def test_folders_named_by_synset_or_by_name_find_their_class():
    classes = [ClassLabel(**entry) for entry in imagenet_classes()]
    assert match_classes(["n03445777"], classes, {}) == (574,)
    assert match_classes(["golf_ball", "n02113186"], classes, {}) == (574, 264)


def test_transformers_labels_are_told():
    words = [f"{entry['name']}, word" for entry in imagenet_classes()]
    assert is_imagenet(words) and is_imagenet([entry["id"] for entry in imagenet_classes()])
    assert (
        not is_imagenet(words[::-1]) and not is_imagenet(words[:999]) and not is_imagenet([str(i) for i in range(1000)])
    )


@pytest.mark.parametrize("count", [1000, 7])
def test_a_checkpoint_without_names(count, goldens, tmp_path):
    tensors = goldens.official("levit_128s")
    if count == 7:
        tensors |= {key: value[:7] for key, value in tensors.items() if key.startswith("head") and ".l." in key}
    torch.save({"model": tensors}, tmp_path / "x.pth")
    model = load("levit_128s", str(tmp_path / "x.pth"))
    assert len(model.classes) == count
    want = {"id": "n01440764", "name": "tench"} if count == 1000 else {"id": "0", "name": "class 0"}
    assert model.classes[0] == want
    preprocess = model.preprocess
    assert (preprocess.resolution, preprocess.crop_pct, preprocess.interpolation) == (224, 0.875, "bicubic")


def test_timm_s_folder_is_prepared_as_its_configuration_says(goldens, tmp_path):
    from safetensors.torch import save_file

    tensors = {key: value.contiguous() for key, value in goldens.timm("levit_128s").items()}
    save_file(tensors, tmp_path / "model.safetensors")
    way = {"input_size": [3, 224, 224], "crop_pct": 0.9, "interpolation": "bicubic"}
    config = {"architecture": "levit_128s", "num_classes": 1000, "pretrained_cfg": way}
    Path(tmp_path / "config.json").write_text(json.dumps(config))
    model = load("levit_128s", str(tmp_path))
    assert model.classes == imagenet_classes() and model.preprocess.crop_pct == 0.9
