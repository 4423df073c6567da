"""The commands of docs/your_own_classes.md, run on a handful of pictures at a small resolution."""

import json
import re
import shutil
import textwrap
from pathlib import Path

import pytest
import tiny_training as tiny
import torch
from official_levit import official_checkpoint

from edge_vit.__main__ import find

DOCS = Path(__file__).parents[2] / "docs/your_own_classes.md"
# What makes it quick, and needs no internet: the file that `--weights imagenet` downloads, but for its values.
INSTEAD = {
    "--weights imagenet": "--weights official.pth",
    "--epochs 3": "--epochs 1",
    "levit_128s_224": "levit_128s_64",
}
QUICK = {"train": "--resolution 64 --threads 1 --precision fp32 --num-workers 0", "convert": "", "accuracy": ""}


def commands():
    """Return the four commands of the tutorial, as it shows them."""
    lines = re.findall(r"^    python -m edge_vit\.(.*)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return [line for line in lines if "pets" in line or "levit_128s_int8" in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of 20 pictures, in a folder named as in the tutorial."""
    root = tmp_path_factory.mktemp("tutorial")
    tiny.write_pictures(root / "all", classes=("bird", "cat", "dog"), num_train=20, num_val=1)
    shutil.move(root / "all" / "train", root / "pets")
    torch.save(official_checkpoint(), root / "official.pth")
    return root


@pytest.mark.needs_tflite
def test_the_four_commands(folder, monkeypatch, capsys):
    assert [line.split()[0] for line in commands()] == ["train", "train", "convert", "accuracy"]
    monkeypatch.chdir(folder)
    said = []
    for line in commands():
        for old, new in INSTEAD.items():
            line = line.replace(old, new)
        command, *words = f"{line} {QUICK[line.split()[0]]}".split()
        assert find(command)(words) == 0, capsys.readouterr().err
        out, err = capsys.readouterr()
        said.append(out)
        if "official.pth" in line:
            assert "levit_128s, official names" in err and "a new classifier for 3 classes; 12 keys left out" in err
    assert said[0].startswith("top-1 ") and "on 6 images -> runs/levit_128s_64/levit_128s_float.safetensors" in said[0]
    assert "on 6 images -> runs/levit_128s_64_qat/levit_128s_int8.safetensors" in said[1]
    assert "levit_128s_int8.tflite" in said[2] and "on 6 pictures" in said[3]
    manifest = json.loads((folder / "artifacts/levit_128s_int8.tflite.json").read_text())
    assert [entry["name"] for entry in manifest["classes"]] == ["bird", "cat", "dog"]
    assert manifest["output"]["kind"] == "probabilities" and manifest["precision"].startswith("int8")


def test_the_python_of_the_tutorial_fits_the_functions(monkeypatch):
    """It is run with the functions' own signatures, without the work behind them."""
    from edge_vit import api

    text = DOCS.read_text(encoding="utf-8").split("## From Python")[1]
    code = textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    ")))
    seen = []

    def train(request):
        seen.append(request)
        return api.TrainResult(
            checkpoint="made.safetensors", top1=1.0, epochs=1, num_val_images=1, chosen_epoch=0, select_top1=None,
            num_select_images=0,
        )  # fmt: skip

    for name, function in (("train", train), ("export", seen.append), ("evaluate", seen.append)):
        monkeypatch.setattr(api, name, function)
    exec(code, {"Path": Path})
    assert [type(request).__name__ for request in seen] == [
        "TrainConfig", "TrainConfig", "ConvertConfig", "AccuracyConfig",
    ]  # fmt: skip
    assert [request.weights for request in seen[:3]] == ["imagenet", "made.safetensors", "made.safetensors"]
    assert seen[1].qat and seen[3].data == Path("runs/int8/pictures.csv")
