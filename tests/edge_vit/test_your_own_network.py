"""The commands of docs/your_own_network.md, run as they stand there on a handful of pictures."""

import json
import re
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tiny_training as tiny
import torch

from edge_vit.__main__ import find

DOCS = Path(__file__).parents[2] / "docs/your_own_network.md"
QUICK = {"train": "--threads 1 --precision fp32 --num-workers 0", "sensitivity": "--images 2", "report": "--limit 3"}


def section(title):
    return DOCS.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]


def code_of(title):
    """Return the file of a section, without its commands."""
    lines = [line for line in section(title).splitlines() if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(line for line in lines if "python -m" not in line))


def commands(title):
    return re.findall(r"^    python -m edge_vit\.(.*)$", section(title), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("own_network")
    tiny.write_pictures(root / "all", classes=("bird", "cat", "dog"), num_train=20, num_val=1)
    shutil.move(root / "all" / "train", root / "pets")
    (root / "net.py").write_text(code_of("The function"))
    (root / "edge.py").write_text(code_of("Our blocks in your network"))
    return root


def run(line, capsys):
    command, *words = f"{line} {QUICK.get(line.split()[0], '')}".split()
    assert find(command)(words) == 0, capsys.readouterr().err
    return capsys.readouterr()


@pytest.mark.needs_tflite
def test_train_convert_prove(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    lines = commands("Train, convert, prove")
    names = ["train", "train", "convert", "accuracy", "sensitivity", "sensitivity", "report", "bench_arm", "convert"]
    assert [line.split()[0] for line in lines] == names
    said = [run(line, capsys).out for line in lines[:7]]
    assert "on 6 images -> runs/net_64/net_float.safetensors" in said[0]
    assert "on 6 images -> runs/net_64_qat/net_int8.safetensors" in said[1]
    assert "slow path      0" in said[2] and "on 6 pictures" in said[3]
    assert "model.attn.softmax.0" in said[4]
    assert "integers   18 of 18 int8 operators as in the graph" in said[5] and "no fault of the runtime" in said[5]
    assert "artifacts/report.html" in said[6] and (folder / "artifacts/report.html").exists()
    manifest = json.loads((folder / "artifacts/net_int8.tflite.json").read_text())
    assert [entry["name"] for entry in manifest["classes"]] == ["bird", "cat", "dog"]
    assert manifest["precision"] == "int8_qat" and manifest["input"]["mean"] == [0.5, 0.5, 0.5]
    assert manifest["network"]["source"] == f"{folder}/net.py:net"


@pytest.mark.needs_tflite
def test_our_blocks_run_wholly_in_int8(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (line,) = commands("Our blocks in your network")
    said = run(line, capsys).out
    assert "float islands  0" in said  # of an untrained network some sums are too small for the fast path


def test_from_python(folder, monkeypatch):
    from edge_vit import api

    namespace = {}
    exec(code_of("The function"), namespace)
    torch.manual_seed(0)
    module, pixels = namespace["net"](3)["module"], np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    local = {"module": module, "pixels": pixels, "picture": torch.from_numpy(pixels[:1]).float()}
    exec(code_of("From Python"), local)
    with torch.no_grad():
        expected = module((local["picture"].permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    assert torch.allclose(local["logits"].detach(), expected, atol=0.15 * float(expected.abs().max()))
    with pytest.raises(ValueError, match="give pixels"):
        api.quantize(module.eval())
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        api.quantize(module.train(), pixels)
