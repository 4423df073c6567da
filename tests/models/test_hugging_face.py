"""Repositories and folders in Hugging Face's form: found in its own cache, offline, and described by config.json."""

import json
import os
import re
import subprocess
import sys

import pytest

from edge_vit.models import hugging_face
from edge_vit.models.hugging_face import HubFile, describe, parse_hub_file
from edge_vit.models.imagenet import imagenet_classes
from edge_vit.models.levit import LEVIT_VARIANTS
from edge_vit.models.sources import find_weights, recorded_weights

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed; it is the extra hub")
from hub_server import serve_hub
from hugging_face import COMMIT, config_of, fill_cache, filled, pictures, tiny_safetensors
from huggingface_hub import constants

NAME, REPO = "levit_128s", "someone/levit-pets"
CONFIG = {
    "model_type": "levit", "architectures": ["LevitForImageClassification"], "hidden_sizes": [128, 256, 384],
    "depths": [2, 3, 4], "num_attention_heads": [4, 6, 8], "key_dim": [16, 16, 16], "image_size": 160,
    "id2label": {"0": "cat", "1": "dog"},
}  # fmt: skip
TIMM = {"architecture": "levit_conv_128s", "num_classes": 2, "pretrained_cfg": {"input_size": [3, 192, 192]}}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of huggingface_hub, offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def as_json(config):
    return json.dumps(config).encode()


def files(config=CONFIG, **others):
    return {"config.json": as_json(config), "model.safetensors": tiny_safetensors()} | others


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("hf:a/b", HubFile(repo="a/b", revision=None, file=None)),
        ("hf:a/b.c-d_e@v1", HubFile(repo="a/b.c-d_e", revision="v1", file=None)),
        ("hf:a/b:x/y.pth.tar", HubFile(repo="a/b", revision=None, file="x/y.pth.tar")),
        ("hf:a/b@refs/pr/1:w.bin", HubFile(repo="a/b", revision="refs/pr/1", file="w.bin")),
    ],
)
def test_forms_of_a_name(text, want):
    assert parse_hub_file(text) == want and str(want) == text


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:a/b/c", "hf:a/b@", "hf:a/b:", "hf:/b", "hf:a/b:c:d"])
def test_other_forms_are_refused(text):
    with pytest.raises(
        ValueError, match=rf"weights '{text}' are not allowed; use hf:ORG/NAME, hf:ORG/NAME@REVISION or"
    ):
        find_weights(NAME, text, False)


def test_a_repository_is_found_and_described(cache):
    fill_cache(cache, REPO, files())
    source = find_weights(NAME, f"hf:{REPO}", False)
    assert (source.label, source.form) == (f"hf:{REPO}@{COMMIT}:model.safetensors", "training")
    assert source.name == source.label, "no folder of this machine"
    assert source.metadata["classes"] == [{"id": "cat", "name": "cat"}, {"id": "dog", "name": "dog"}]
    assert source.resolution_for(NAME, None) == 160
    fill_cache(cache, REPO, files() | {"model.safetensors": tiny_safetensors() + bytes(8)}, commit="f" * 40)
    assert recorded_weights(source.label, cache).sha256 == source.sha256, "a label names one commit for ever"


def test_revisions_and_files(cache):
    import torch

    torch.save({"model": {"x": torch.zeros(1)}, "model_ema": {"x": torch.ones(1)}}, cache.parent / "x")
    content = (cache.parent / "x").read_bytes()
    fill_cache(cache, REPO, files() | {"old/w.pth": content}, revision="v1", commit="a" * 40)
    fill_cache(cache, REPO, {"pytorch_model.bin": content}, commit="b" * 40)
    assert find_weights(NAME, f"hf:{REPO}@v1", False).label == f"hf:{REPO}@{'a' * 40}:model.safetensors"
    found = find_weights(NAME, f"hf:{REPO}@v1:old/w.pth", False, takes_raw=True)
    assert found.label == f"raw:hf:{REPO}@{'a' * 40}:old/w.pth" and found.metadata == {}
    again = recorded_weights(found.label, cache)
    assert again.label == found.label and again.checkpoint.tensors["x"].item() == 0.0


def test_without_what_the_repository_is_known_not_to_have(cache):
    """Online, huggingface_hub notes names that a repository lacks; offline this is as good as an answer."""
    fill_cache(cache, REPO, {"pytorch_model.bin": b"\x80"})
    known = cache / f"models--{REPO.replace('/', '--')}" / ".no_exist" / COMMIT
    known.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (known / name).write_bytes(b"")
    source = find_weights(NAME, f"hf:{REPO}", False)
    assert source.label.endswith(":pytorch_model.bin") and source.metadata == {}
    (known / "pytorch_model.bin").write_bytes(b"")
    (cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT / "pytorch_model.bin").unlink()
    with pytest.raises(
        ValueError, match=r"has no model\.safetensors and no pytorch_model\.bin; name a file of it with hf"
    ):
        find_weights(NAME, f"hf:{REPO}", False)


@pytest.mark.parametrize("held", [{}, {"model.safetensors": tiny_safetensors()}], ids=["nothing", "no config.json"])
def test_what_is_not_in_the_cache_offline(held, cache):
    if held:
        fill_cache(cache, REPO, held)
    name = "config.json" if held else "model.safetensors"
    with pytest.raises(
        ValueError, match=rf"{name} is not in huggingface_hub's cache and cannot be fetched; where"
    ) as e:
        find_weights(NAME, f"hf:{REPO}", False)
    assert "\n" not in str(e.value)


@pytest.fixture
def server(tmp_path, monkeypatch):
    with serve_hub(monkeypatch, tmp_path / "hub") as server:
        yield server


def test_files_are_fetched_once(server):
    server.repos[REPO] = {"pytorch_model.bin": b"\x80", "config.json": as_json(CONFIG)}
    source = find_weights(NAME, f"hf:{REPO}", False)
    assert (source.label, source.metadata["resolution"]) == (f"hf:{REPO}@{COMMIT}:pytorch_model.bin", 160)
    assert find_weights(NAME, source.label, False).sha256 == source.sha256
    assert recorded_weights(source.label, server.url).sha256 == source.sha256
    assert [name for command, _, name in server.requests if command == "GET"] == ["pytorch_model.bin", "config.json"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("hf:no/body", "hf:no/body: no such repository, or a private one; check it, or run `hf auth login`"),
        ("hf:some/gated", "hf:some/gated is gated; ask for access on its page, then run `hf auth login`"),
        (f"hf:{REPO}@v7", f"hf:{REPO}@v7: the repository has no revision v7; leave it out, or name another"),
        (f"hf:{REPO}", f"hf:{REPO} has no model.safetensors and no pytorch_model.bin; name a file of it with hf:ORG"),
        (f"hf:{REPO}:a/b.pth", f"hf:{REPO}:a/b.pth has no a/b.pth; name a file of it with hf:ORG/NAME:FILE"),
    ],
)
def test_what_the_hub_refuses(choice, message, server):
    server.repos[REPO], server.gated = {}, {"some/gated"}
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        find_weights(NAME, choice, False)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    server.repos[REPO] = files()
    (tmp_path / "hub").write_bytes(b"")
    with pytest.raises(
        ValueError, match=rf"hf:{REPO}: model\.safetensors cannot be fetched \(.*\); try again, or give"
    ):
        find_weights(NAME, f"hf:{REPO}", False)


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(hugging_face.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"^hf:{REPO} needs huggingface_hub; pip install 'edge_vit\[hub\]'$"):
        find_weights(NAME, f"hf:{REPO}", False)


def test_environment_variables_rule(tmp_path):
    fill_cache(tmp_path / "hub", REPO, files())
    code = f"""if True:
        import sys
        from edge_vit.models.sources import find_weights
        print(find_weights({NAME!r}, "hf:{REPO}", False).label, "torch" in sys.modules)
    """
    variables = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | variables
    )
    assert done.stdout == f"hf:{REPO}@{COMMIT}:model.safetensors False\n"


def write(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_folders(tmp_path):
    folder = write(tmp_path / "a", files())
    for choice in (folder, folder / "model.safetensors"):
        source = find_weights(NAME, str(choice), False)
        assert source.label == str(folder / "model.safetensors") and source.metadata["resolution"] == 160
    assert recorded_weights(source.label, tmp_path).sha256 == source.sha256
    other = write(tmp_path / "b", {"config.json": as_json(TIMM), "pytorch_model.bin": b"\x80"})
    assert find_weights(NAME, str(other), False).metadata == {"resolution": 192}
    with pytest.raises(ValueError, match=r"b has a config\.json but neither model\.safetensors nor pytorch_model\.bin"):
        (other / "pytorch_model.bin").unlink()
        find_weights(NAME, str(other), False)
    with pytest.raises(ValueError, match=r"c is a folder without config\.json; give a file, or a folder of Hugging"):
        find_weights(NAME, str(write(tmp_path / "c", {})), False)


def described(tmp_path, config, name=NAME, **options):
    content = config if isinstance(config, bytes) else as_json(config)
    return describe(write(tmp_path, files() | {"config.json": content}) / "model.safetensors", name, **options)


LABELS = [
    ({"id2label": {"1": "b", "0": "a"}}, [("a", "a"), ("b", "b")]),
    ({"id2label": {"0": "crane", "1": "b", "2": "crane"}}, [("0", "crane"), ("b", "b"), ("2", "crane")]),
    ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None),
    ({"label_names": ["n1", "n2"], "label_descriptions": {"n1": "tench"}}, [("n1", "tench"), ("n2", "n2")]),
    ({}, None),
]


@pytest.mark.parametrize(("config", "want"), LABELS, ids=["in order", "twice", "nobody named", "timm", "none"])
def test_class_names(config, want, tmp_path):
    classes = described(tmp_path, config).get("classes")
    assert classes == (want and [{"id": key, "name": name} for key, name in want])


def test_timm_s_way_of_preparing_pictures(tmp_path):
    way = {"input_size": [3, 192, 192], "crop_pct": 0.9, "interpolation": "bilinear", "mean": [0.485, 0.456, 0.406]}
    known = described(tmp_path, TIMM | {"pretrained_cfg": way})
    assert known == {"resolution": 192, "crop_pct": 0.9, "interpolation": "bilinear"}


PROCESSOR = {"size": {"shortest_edge": 192}, "crop_size": {"height": 192, "width": 192}, "resample": 2}


def processed(tmp_path, processor):
    path = write(tmp_path, files() | {"preprocessor_config.json": as_json(processor)}) / "model.safetensors"
    return describe(path, NAME)


def test_transformers_way_of_preparing_pictures(tmp_path):
    """LevitImageProcessor makes the shorter side 256 / 224 of its size, 219 for 192, and cuts 192 out of it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    known = processed(tmp_path, PROCESSOR)
    assert {key: known[key] for key in ("resolution", "crop_pct", "interpolation")} == {
        "resolution": 192, "crop_pct": round(192 / 219, 4), "interpolation": "bilinear",
    }  # fmt: skip
    usual = transformers.LevitImageProcessor().to_dict()
    known = processed(tmp_path, {key: usual[key] for key in ("size", "crop_size", "resample", "image_mean")})
    assert (known["resolution"], known["crop_pct"], known["interpolation"]) == (224, 0.875, "bicubic")


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"image_std": [0.5, 0.5, 0.5]}, "standard deviation [0.5, 0.5, 0.5] is not allowed; variants normalise by"),
        ({"resample": 0}, "resample 0 is not allowed; use 2 (bilinear) or 3 (bicubic)"),
        ({"size": 100, "crop_size": 224}, "crop_size 224 of size 100 is not allowed; use a share of 0.1 to 1.0"),
        ([], "holds list; allowed: an object"),
    ],
)
def test_a_way_of_preparing_pictures_that_is_not_ours(processor, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        processed(tmp_path, processor)
    assert str(caught.value).startswith(str(tmp_path / "preprocessor_config.json"))


def test_the_thousand_labels_of_imagenet_have_synsets(tmp_path):
    labels = {str(i): f"{entry['name']}, another word" for i, entry in enumerate(imagenet_classes())}
    assert described(tmp_path, CONFIG | {"id2label": labels})["classes"] == imagenet_classes()
    turned = dict(zip(labels, reversed(labels.values()), strict=True))
    assert described(tmp_path, CONFIG | {"id2label": turned})["classes"][0] == {"id": turned["0"], "name": turned["0"]}


REFUSED = [
    (b"{", "is no JSON that can be read; get it again"),
    (b"[" * 100_000, "is no JSON that can be read; get it again"),
    ([], "holds list; allowed: an object"),
    (
        CONFIG | {"depths": [4, 4, 4], "num_attention_heads": [4, 8, 12]},
        "describes levit_128, not levit_128s; name that",
    ),
    (CONFIG | {"depths": [1, 1, 1]}, "describes hidden_sizes [128, 256, 384], depths [1, 1, 1], num_attention_heads"),
    (CONFIG | {"model_type": "vit"}, "describes a model of type vit, levit_128s needs levit; name that model"),
    (CONFIG | {"architectures": ["LevitModel"]}, "describes LevitModel, which has no head; give an image classifier"),
    (TIMM | {"architecture": "levit_192"}, "describes levit_192, not levit_128s; name that model"),
    (TIMM | {"pretrained_cfg": {"crop_pct": 2.0}}, "crop_pct 2.0 is not allowed; use 0.1 to 1.0"),
    (
        TIMM | {"pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}},
        r"mean [0.5, 0.5, 0.5] is not allowed; variants normalise by ImageNet's, [0.485, 0.456, 0.406]",
    ),
    (
        TIMM | {"pretrained_cfg": {"interpolation": "random"}},
        "interpolation 'random' is not allowed; use bilinear or bic",
    ),
    (CONFIG | {"id2label": {"1": "a", "2": "b"}}, "id2label does not number its labels from 0 to 1; mend it"),
    (CONFIG | {"id2label": {"0": 1}}, "class names that are no text; allowed: id2label"),
    (CONFIG | {"id2label": "cat"}, "class names that are no text; allowed: id2label"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED, ids=range(len(REFUSED)))
def test_a_config_that_does_not_fit(config, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        described(tmp_path, config)
    assert str(caught.value).startswith(str(tmp_path / "config.json")) and "\n" not in str(caught.value)


def test_an_edge_variant_may_start_from_its_original_where_that_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="describes levit_128s, not levit_edge_128s"):
        described(tmp_path, CONFIG, "levit_edge_128s")
    assert described(tmp_path, CONFIG, "levit_edge_128s", takes_siblings=True)["resolution"] == 160
    assert find_weights("levit_edge_128s", str(tmp_path), False, takes_siblings=True).form == "training"


def test_sizes_are_those_of_the_registry():
    ours = {
        name: {
            "hidden_sizes": list(c.embed_dim), "depths": list(c.depths), "num_attention_heads": list(c.num_heads),
            "key_dim": [c.key_dim] * 3,
        }
        for name, c in LEVIT_VARIANTS.items() if "_edge_" not in name
    }  # fmt: skip
    assert ours == hugging_face._LEVIT_SIZES


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_what_transformers_saved_gives_its_logits_and_names(safe, tmp_path, cache):
    """A folder, and a repository with the same files in the cache, as transformers writes them."""
    pytest.importorskip("transformers", reason="transformers is not installed; it comes with litert-torch")
    import torch

    from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
    from edge_vit.api import load

    labels = {0: "tench", 1: "golf ball", 2: "parachute"}
    theirs = filled(config_of(NAME, 3, id2label=labels, label2id={v: k for k, v in labels.items()}), with_teacher=True)
    folder = tmp_path / "saved"
    theirs.save_pretrained(folder)
    if not safe:
        torch.save(theirs.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    fill_cache(cache, REPO, {path.name: path.read_bytes() for path in folder.iterdir()})
    if not safe:
        (cache / f"models--{REPO.replace('/', '--')}/.no_exist/{COMMIT}").mkdir(parents=True)
        (cache / f"models--{REPO.replace('/', '--')}/.no_exist/{COMMIT}/model.safetensors").write_bytes(b"")
    images = pictures(224)[:2]
    with torch.no_grad():
        want = theirs(images).logits
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    pixels = 255 * (images.permute(0, 2, 3, 1) * std + mean)
    for choice in (str(folder), f"hf:{REPO}"):
        model = load(NAME, choice)
        assert [entry["name"] for entry in model.classes] == list(labels.values())
        assert model.preprocess.resolution == 224 and model.preprocess.crop_pct == 0.875
        with torch.no_grad():
            got = model.module(pixels)
        assert float((got - want).abs().max() / want.abs().max()) < 1e-5
