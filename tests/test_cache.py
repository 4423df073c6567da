"""Every room keeps what it fetches or builds in the one folder of converters/cache.py."""

import ast
import dataclasses
import importlib
from pathlib import Path

import pytest

from converters.onnx2tf import environment
from edge_vit.models import published

ROOT = Path(__file__).parent.parent
SPEAK_OF_IT = {"XDG_CACHE_HOME", "EDGE_VIT_CACHE", ".cache", "~/.cache"}


def test_one_module_alone_decides():
    deciding = set()
    for package in ("edge_vit", "converters", "calibration", "android_demo", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and node.value in SPEAK_OF_IT:
                    deciding.add(path.relative_to(ROOT).as_posix())
    assert deciding == {"converters/cache.py"}


def test_weights_and_onnx2tf_are_kept_there(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path / "cache"))
    assert environment.RECIPE.folder.parent == tmp_path / "cache"
    nowhere = dataclasses.replace(published.PUBLISHED["levit_128s"], url="http://127.0.0.1:1/a.pth")
    monkeypatch.setitem(published.PUBLISHED, "levit_128s", nowhere)
    with pytest.raises(ValueError, match="cannot download weights"):
        published.download_weights("levit_128s", progress=None)
    assert (tmp_path / "cache").is_dir()


@pytest.mark.parametrize(
    "module",
    [
        "edge_vit.emulation.tflite",
        "edge_vit.emulation.virtual_device",
        pytest.param("edge_vit.emulation.pte", marks=pytest.mark.needs_executorch),
        "android_demo.apk.tools",
    ],
)
def test_what_is_fetched_is_kept_there(module, monkeypatch, tmp_path):
    """Without apt nothing can be fetched, but the lock lies where it would be kept."""
    for program, said in (("dpkg", "amd64"), ("javac", ""), ("npm", "")):
        (tmp_path / program).write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path / "cache"))
    if module == "edge_vit.emulation.pte":
        pytest.importorskip("executorch")
    with pytest.raises(ValueError, match="apt-get and dpkg-deb to fetch them"):
        importlib.import_module(module).prepare()
    assert list((tmp_path / "cache").rglob("*.lock"))
