"""Outputs against this machine's own; what keeps them from being compared is told."""

import importlib.util
from pathlib import Path

import pytest
from device_records import make

from converters.tflite.reader import read_model
from edge_vit.devices import bench, compare, host_run
from edge_vit.devices.compare import Comparison


def test_without_a_litert_here_nothing_is_said(
    tiny_int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert compare.with_host(tiny_int8, b"output", tmp_path) == Comparison()


@pytest.mark.needs_tflite
def test_every_other_reason_is_told(tiny_int8: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "file").touch()
    found = compare.with_host(tiny_int8, b"output", tmp_path / "file")
    assert found.equals_host is None and found.not_compared.startswith("cannot keep litert_runner-")
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(tiny_int8.read_bytes()[:2000])
    found = compare.with_host(damaged, b"output")
    assert found.equals_host is None and found.not_compared


@pytest.mark.needs_tflite
def test_equal_and_different_outputs(tiny_int8: Path, tiny_fp32: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    expected = host_run.reference_output(tiny_int8, host_run.seeded_inputs(read_model(tiny_int8).input_tensors))
    assert compare.with_host(tiny_int8, expected) == Comparison(equals_host=True, max_difference=0.0)
    assert compare.with_host(tiny_int8, bytes(len(expected))) == Comparison(equals_host=False)
    float_found = compare.with_host(tiny_fp32, bytes(40))
    assert float_found.equals_host is False and 0 < float_found.max_difference <= 1


def test_a_record_that_was_not_compared_says_why(tiny_int8: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    pytest.importorskip("ai_edge_litert")
    record = make(tiny_int8.name, output=b"output", output_sha256="ab" * 32)
    compare.outputs_([tiny_int8], [record], tmp_path / "file")
    plain = record.as_dict()
    assert plain["output_not_compared"].startswith("cannot keep litert_runner-")
    text = bench._text([plain], [])
    assert f"Outputs not compared with this machine's:\nR5C: tiny_int8.tflite: {plain['output_not_compared']}" in text
