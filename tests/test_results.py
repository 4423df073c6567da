"""Every table that benchmarks/results.py writes stands in the documents as results.json has it."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("results")


@pytest.fixture
def results(benchmark):
    return json.loads(benchmark.RESULTS.read_text())


def test_the_documents_have_the_numbers_of_the_file(benchmark, results):
    names = []
    for document in benchmark.DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert benchmark.filled(text, results) == text, f"{document.name}: run python benchmarks/results.py --write"
        names += [found[2] for found in benchmark._BLOCK.finditer(text)]
    assert sorted(names) == sorted({"files"} | ({"ranges"} if results["ranges"] else set()))


def test_another_number_is_another_text(benchmark, results):
    changed = json.loads(json.dumps(results))
    changed["models"]["levit_128s"]["top1"]["int8"] += 0.05
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmark.filled(text, changed) != text


def test_the_numbers_are_of_one_run(results):
    """All pictures, and files that lose no more than half a point and cost less than float."""
    for model in results["models"].values():
        assert model["num_images"] == 2000 and model["drop_points"] <= 0.5
        assert model["top1"]["fp32"] - model["top1"]["int8"] == pytest.approx(model["drop_points"], abs=0.006)
        assert all(counts["int8"] < counts["fp32"] for counts in model["instructions"].values())
        assert model["num_bytes"]["int8"] < 0.4 * model["num_bytes"]["fp32"]
