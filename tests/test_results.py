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
    assert sorted(names) == ["files", "ranges", "stock"]


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


def test_calibration_loses_at_most_half_of_what_naive_ranges_lose(results):
    """`best`: half of min-max's loss or less, half a point or less, the same class for 98.5% of the pictures."""
    by_model = {}
    for row in results["ranges"]:
        by_model.setdefault(row["model"], {})[row["ranges"]] = row
    assert set(by_model) == set(results["models"])
    for rows in by_model.values():
        best, naive = rows["best"], rows["min_max"]
        assert best["num_images"] == 2000 and best["agreement"] >= 0.985
        assert best["drop_points"] <= min(0.5, naive["drop_points"] / 2)


def test_ours_is_the_cheapest_int8_file_of_each_runtime(results):
    """Of all files made from the same weights, and no other tool's loses less accuracy."""
    for model in results["models"]:
        rows = [row for row in results["stock"] if row["model"] == model and "failed" not in row]
        assert {row["runtime"] for row in rows} == {"tflite", "pte", "onnxruntime"}
        for runtime in {row["runtime"] for row in rows}:
            here = [row for row in rows if row["runtime"] == runtime]
            ours = [row for row in here if row["tool"].startswith("ours")]
            others = [row for row in here if not row["tool"].startswith("ours")]
            assert others and all(row["num_images"] == 2000 for row in here)
            assert max(r["instructions"] for r in ours) < min(r["instructions"] for r in others), (model, runtime)
