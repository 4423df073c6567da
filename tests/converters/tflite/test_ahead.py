"""Compiled ahead of time: which chips there are, where compilers come from, and what comes of a compilation."""

import sys

import pytest

from converters.tflite import ahead
from converters.tflite.chips import VENDORS, explanation, find_chips

WORKER = """
import json, pathlib, sys
sdk, source, output, pack, *wanted = sys.argv[3:]
if "sm8350" in str(wanted).lower():
    print(json.dumps({"compiled": [], "failed": [["Qualcomm_SM8350", "no memory\\nat all"]]}))
    sys.exit()
made = []
for one in wanted:
    path = pathlib.Path(output) / one.replace(":", "_")
    path.write_bytes(one.encode())
    made.append({"target": one, "path": str(path), "stats": [[7, 9, 2], [1, 1, 1]]})
print("a plugin says hello")
print(json.dumps({"compiled": made, "failed": []}))
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Libraries of Qualcomm's, and a worker that answers as if it had compiled."""
    (tmp_path / "sdk").mkdir()
    (tmp_path / "sdk" / "libQnnHtp.so").touch()
    (tmp_path / "worker.py").write_text(WORKER)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/worker.py "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("EDGE_VIT_QAIRT", str(tmp_path / "sdk"))
    monkeypatch.setattr(ahead.sys, "executable", str(python))
    (tmp_path / "net_int8.tflite").write_bytes(b"portable")
    return tmp_path / "net_int8.tflite"


def test_chips_are_found_in_any_case():
    assert [(vendor.name, chip) for vendor, chip in find_chips("sm8750,MT6991")] == [
        ("qualcomm", "SM8750"), ("mediatek", "MT6991"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="unknown chip 'sm875'; `--npu list` names all; did you mean sm8750"):
        find_chips("sm875")
    with pytest.raises(ValueError, match="chip sm8750 stands twice; name each once"):
        find_chips("sm8750,SM8750")
    text = "\n".join(explanation())
    assert all(chip.lower() in text for vendor in VENDORS for chip in vendor.chips)


@pytest.mark.needs_tflite
def test_the_chips_are_those_of_litert():
    pytest.importorskip("ai_edge_litert.aot")
    import importlib

    for vendor in VENDORS:
        known = importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor.name}.target")
        assert {chip.value for chip in known.SocModel} - {"ALL"} == set(vendor.chips), vendor.name


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGE_VIT_QAIRT", raising=False)
    (qualcomm, _), (mediatek, _) = find_chips("sm8750,mt6991")
    with pytest.raises(ImportError, match=r"run: pip install ai-edge-litert-sdk-qualcomm, or set EDGE_VIT_QAIRT"):
        ahead.check_compiler(qualcomm)
    with pytest.raises(ImportError, match=r"MediaTek's NPUs needs its compiler; run: pip install .*-mediatek$"):
        ahead.check_compiler(mediatek)
    monkeypatch.setenv("EDGE_VIT_QAIRT", str(tmp_path))
    with pytest.raises(ValueError, match=r"has no libQnnHtp\.so; name the SDK's lib/x86_64-linux-clang"):
        ahead.check_compiler(qualcomm)


def test_each_chip_gets_a_file_and_its_figures(compiler):
    made, pack = ahead.compile_ahead(compiler, find_chips("sm8750"))
    ((path, told),) = made
    assert pack is None and path.name == "net_int8_sm8750.tflite" and path.read_bytes() == b"qualcomm:SM8750"
    assert (told.chip, told.vendor, told.offloaded, told.total, told.partitions) == ("SM8750", "Qualcomm", 8, 10, 3)
    assert told.file.num_bytes == len(b"qualcomm:SM8750")
    made, pack = ahead.compile_ahead(compiler, find_chips("sm8650,sm8550"))
    assert pack == compiler.parent / "net_int8_ai_pack" and len(made) == 2
    assert not list(compiler.parent.glob(".compiled-*"))


def test_what_a_compiler_says_is_one_line(compiler):
    with pytest.raises(RuntimeError, match=r"compiling net_int8\.tflite for Qualcomm_SM8350 failed: no memory$"):
        ahead.compile_ahead(compiler, find_chips("sm8350"))
    assert compiler.read_bytes() == b"portable"
