"""A time that a benchmark prints names the processor that it was measured on."""

import importlib
from pathlib import Path

import pytest

MACHINE = "AMD EPYC (no AVX512, no VNNI)"
BOTH = {"fp32": 4.0, "int8": 2.0}


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")


def test_tflite_int8():
    benchmark = importlib.import_module("tflite_int8")
    counts = {cpu: {"fp32": 2e6, "int8": 1e6} for cpu in benchmark.CPUS}
    int8 = {"weights": "a", "sqnr_db": 30.0, "top1_agreement": 1.0, "quantize": 1, "dequantize": 1}
    result = {
        "model": "levit_128s", "converting_s": 1.0, "int8": int8 | {"float_islands": 0, "slow_path": 0},
        "size_bytes": BOTH, "instructions": counts, "instruction_ratio": dict.fromkeys(counts, 0.5),
        "median_ms": BOTH, "speedup": 2.0, "rounds": 9, "machine": MACHINE,
    }  # fmt: skip
    other = result | {"machine": "Other (AVX512, VNNI)"}
    assert f"ms: {MACHINE}, one thread, medians of 9 turns" in benchmark.table([result, result])
    assert f"ms: {MACHINE}, Other (AVX512, VNNI), one thread" in benchmark.table([result, other])


def test_executorch_int8():
    benchmark = importlib.import_module("executorch_int8")
    result = {
        "model": "levit_128s", "lowering_s": BOTH, "command_processor_s": BOTH, "delegate_calls": BOTH,
        "median_ms": BOTH, "speedup": 2.0, "machine": MACHINE,
    }  # fmt: skip
    assert benchmark.line(result).endswith(f"4.00 / 2.00 ms, 2.00x (fp32 / int8) on {MACHINE}")


def test_tflite_backends():
    benchmark = importlib.import_module("tflite_backends")
    record = {
        "model": "levit_128s", "precision": "int8", "convert_s": 1.0, "convert_processor_s": 1.0, "size_bytes": 1e6,
        "median_ms": 2.0, "instructions": 1e6, "top1": None, "agreement": 99.0, "operators": 9, "machine": MACHINE,
    }  # fmt: skip
    assert f"ms: {MACHINE}, one thread." in benchmark.table([record | {"backend": b} for b in benchmark.BACKENDS])


def test_arm_counts(tmp_path):
    benchmark = importlib.import_module("arm_counts")
    operators = [("CONV_2D", 6_000_000), ("SOFTMAX", 1_000_000), ("MEAN", 500_000)]
    record = {
        "network": "levit_128s", "format": "tflite", "precision": "int8", "cpu": "cortex-a76",
        "instructions": 8_000_000, "between_operators": 500_000, "repeats_within": 0.0,
        "runtime": "LiteRT 2.3.0", "qemu_version": "7.2",
        "operators": [{"kind": kind, "kernel": "k", "instructions": n} for kind, n in operators],
    }  # fmt: skip
    table = benchmark.table([record], before=[record | {"instructions": 9_000_000}])
    assert "| levit_128s | .tflite | int8 | 9.00 → 8.00 |" in table
    assert "| levit_128s .tflite int8 | 8.00 | 6.00 | 1.00 | 1.00 | 25.0% |" in table
    page = tmp_path / "arm.md"
    page.write_text(f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter\n")
    for _ in range(2):
        benchmark.put_into(page, table)
    assert page.read_text() == f"before\n{benchmark.BEGIN}\n{table}\n{benchmark.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="the tables go between one line"):
        benchmark.put_into(page, table)


def test_times_are_taken_with_this_machines_name(monkeypatch):
    from edge_vit.devices.cpu import host_cpu

    benchmark = importlib.import_module("tflite_int8")
    monkeypatch.setattr(benchmark, "time_in_turns", lambda paths, rounds: {name: [1.0] for name in paths})
    assert benchmark.measure_time({"fp32": Path(), "int8": Path()}, 1)["machine"] == host_cpu()
