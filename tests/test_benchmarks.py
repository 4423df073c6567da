"""A time that a benchmark prints names the processor that it was measured on."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_tflite import T, build

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
        "runtime": "LiteRT 2.3.0", "qemu_version": "7.2", "threads": 1, "instructions_per_run": [8_000_000] * 2,
        "operators": [{"kind": kind, "kernel": "k", "instructions": n} for kind, n in operators],
    }  # fmt: skip
    table = benchmark.table([record], before=[record | {"instructions": 9_000_000}])
    assert "| levit_128s | .tflite | int8 | 9.00 → 8.00 |" in table
    assert "| levit_128s .tflite int8 | 8.00 | 6.00 | 1.00 | 1.00 | 25.0% |" in table
    shared = record | {"threads": 2, "instructions_per_run": [8_100_000, 8_300_000], "repeats_within": 0.02}
    assert "| levit_128s .tflite | 8.00 | 8.10 to 8.30 | - |" in benchmark.table([record, shared])
    page = tmp_path / "arm.md"
    page.write_text(f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter\n")
    for _ in range(2):
        benchmark.put_into(page, table)
    assert page.read_text() == f"before\n{benchmark.BEGIN}\n{table}\n{benchmark.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="the tables go between one line"):
        benchmark.put_into(page, table)


def test_peers():
    benchmark = importlib.import_module("peers")
    common = {"decibels": 26.4, "runtime": "LiteRT 2.3.0", "cpu": "cortex-a76", "is_other": False}
    records = [
        common | {"peer": "ours", "instructions": 34_700_000},
        common | {"peer": "theirs", "instructions": 52_100_000, "decibels": 3.1},
        common | {"peer": "smaller", "instructions": 20_000_000, "is_other": True},
        {"peer": "broken", "failed": "no such operator"},
    ]
    table = benchmark.table(records, ["cortex-a76", "cortex-a53"])
    assert "| ours | **34.7** | - | 26 dB |" in table and "| theirs | 52.1 | - | 3 dB |" in table
    assert "| smaller | 20.0 | - | 26 dB |" in table
    assert "| broken | failed | failed | - |" in table and table.endswith("broken: no such operator")


def test_peers_counts_nothing_twice(tmp_path, monkeypatch, capsys):
    benchmark = importlib.import_module("peers")
    peer = next(p for p in benchmark.PEERS if p.name == "ONNX Runtime float")
    results, page = tmp_path / "peers.jsonl", tmp_path / "arm.md"
    page.write_text(f"{benchmark.BEGIN}\n{benchmark.END}\n")
    (tmp_path / peer.file.format("levit_128s")).write_bytes(b"file")
    counted = []

    def count(self, peer, path, cpu, x):
        counted.append(cpu)
        if cpu == "cortex-a72":
            raise ValueError("no end")
        return 9_000_000, np.ones(10, np.float32)

    monkeypatch.setattr(benchmark.Counter, "count", count)
    monkeypatch.setattr(benchmark.Counter, "release", lambda self, runtime: "onnxruntime 1")
    monkeypatch.setattr(benchmark, "reference", lambda maker: np.ones(10, np.float32) * 1.1)
    words = ["--calib", str(tmp_path), "--artifacts", str(tmp_path), "--results", str(results), "--only", peer.name]
    words += ["--output", str(page), "--cpus"]
    assert benchmark.main([*words, "cortex-a76"]) == 0
    assert benchmark.main([*words, "cortex-a76", "cortex-a72"]) == 1  # what was counted stays, the rest is told
    assert counted == ["cortex-a76", "cortex-a72"] and len(results.read_text().splitlines()) == 1
    assert "| ONNX Runtime float | **9.0** | failed | 21 dB |" in page.read_text()
    (tmp_path / peer.file.format("levit_128s")).write_bytes(b"another")
    assert benchmark.main([*words, "cortex-a76"]) == 0 and counted[-1] == "cortex-a76" and len(counted) == 3
    results.write_text("{}\n")
    assert benchmark.main([*words, "cortex-a76"]) == 2 and "is not a record" in capsys.readouterr().err


def test_peers_that_take_integers(tmp_path):
    pytest.importorskip("ai_edge_litert")
    benchmark = importlib.import_module("peers")
    path = tmp_path / "stock.tflite"
    tensors = {"x": T((1, 3, 2, 2), "int8", (0.02, -4)), "y": T((1, 3, 2, 2), "int8", (0.5, 3))}
    path.write_bytes(build(tensors, [("QUANTIZE", ["x"], ["y"], None)]))
    peer = next(p for p in benchmark.PEERS if p.name == "LiteRT int8, litert-torch PT2E")
    pixels = np.full((1, 2, 2, 3), 124, np.uint8)  # 0.006, 0.135 and 0.357 deviations above the mean
    given = benchmark.input_of(peer, path, pixels)
    assert given.dtype == np.int8 and given[0, :, 0, 0].tolist() == [-4, 3, 14]
    assert benchmark.logits_of(path, np.array([-128, 3, 4], np.int8).tobytes()).tolist() == [-65.5, 0.0, 0.5]


def test_papers():
    benchmark = importlib.import_module("papers")
    records = [
        {"network": name, "precision": precision, "instructions": {"cortex-a76": count}}
        for ours, theirs, _ in benchmark.PAIRS
        for name, count in ((ours, 100_000_000), (theirs, 490_000_000))
        for precision in benchmark.PRECISIONS
    ]
    name, precision = "efficientnet_b2", "int8"
    records = [r for r in records if (r["network"], r["precision"]) != (name, precision)]
    records.append({"network": name, "precision": precision, "failed": "error: no"})
    table = benchmark.table(records, ["cortex-a76"])
    assert f"| levit_192 fp32, {name} fp32 | 100.0, 490.0: **4.90x** | 4.9x (65 to 13.2 images/s, Xeon)" in table
    assert f"| levit_192 int8, {name} int8 | no file |  |" in table and f"{name} int8: error: no" in table
    floats = benchmark.table([r for r in records if r["precision"] == "fp32"], ["cortex-a76"])
    assert floats.count("x** |") == 3 and "int8" not in floats


def test_papers_counts_nothing_twice(tmp_path, monkeypatch):
    benchmark = importlib.import_module("papers")
    for names in benchmark.PAIRS:
        for network in names[:2]:
            (tmp_path / f"{network}_fp32.tflite").write_bytes(network.encode())
    counted = []
    monkeypatch.setattr(
        benchmark.tflite, "count_instructions", lambda path, cpu, runs: counted.append(path.stem) or 1_000_000
    )
    words = ["--calib", str(tmp_path), "--artifacts", str(tmp_path), "--precisions", "fp32", "--cpus", "cortex-a76"]
    words += ["--results", str(tmp_path / "papers.jsonl")]
    assert benchmark.main(words) == benchmark.main(words) == 0
    assert len(counted) == len(set(counted)) == 6


def test_arm_kernels():
    benchmark = importlib.import_module("arm_kernels")
    found = {"cortex-a53": [("ADD int8", 2.44, "instructions an element")], "cortex-a76": []}
    assert "| ADD int8 | 2.4 | - | instructions an element |" in benchmark.table(found)


def test_conversion_time(tmp_path, monkeypatch, capsys):
    benchmark = importlib.import_module("conversion_time")
    asked = []

    def convert(model, target, precision, way):
        asked.append((model, way))
        seconds = dict.fromkeys(benchmark.STEPS, 2.0 if way == "before" else 1.0)
        return {"seconds": seconds, "files": {"a": "spoilt" if (model, way) == ("efficientvit_m0", "after") else "1"}}

    monkeypatch.setattr(benchmark, "convert_in_a_process", convert)
    words = ["--targets", "executorch", "--results", str(tmp_path / "times.jsonl")]
    assert benchmark.main(["levit_128s", *words]) == 0
    assert benchmark.main(["levit_128s", "efficientvit_m0", *words]) == 1
    assert asked == [(m, w) for m in ("levit_128s", "efficientvit_m0") for w in ("before", "after")]
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0].endswith("| 2.0 → 1.0 | equal |") and lines[1].endswith("| 2.0 → 1.0 | DIFFER |")


def test_times_are_taken_with_this_machines_name(monkeypatch):
    from edge_vit.devices.cpu import host_cpu

    benchmark = importlib.import_module("tflite_int8")
    monkeypatch.setattr(benchmark, "time_in_turns", lambda paths, rounds: {name: [1.0] for name in paths})
    assert benchmark.measure_time({"fp32": Path(), "int8": Path()}, 1)["machine"] == host_cpu()


def test_own_networks(tmp_path, monkeypatch):
    benchmark = importlib.import_module("own_networks")
    floats = {"int8_operators": 0, "operators": 9, "sqnr_db": 120.0, "agreement": 1.0, "instructions": 4_000_000}
    int8 = {"int8_operators": 7, "operators": 9, "sqnr_db": 20.0, "agreement": 0.9, "instructions": 1_000_000}
    made = []

    def cell(name, tool, args):
        made.append((name, tool))
        faults = {("levit", "aeq"): "ValueError: no lowering", ("levit", "pt2e"): "its process died"}
        fault = faults.get((name, tool))
        return {"fault": fault} if fault else floats if tool == "fp32" else int8

    monkeypatch.setattr(benchmark, "in_own_process", cell)
    words = ["--calib", "c", "--data", "d", "--artifacts", str(tmp_path), "--networks", "levit", "vit_tiny"]
    args = benchmark.build_parser().parse_args(words)
    lines = benchmark.table(benchmark.measure(args)).splitlines()[2:]
    assert lines[1] == "| levit | ours, int8 | 7 of 9 | 20.0 | 1.0 | 0.25 |"
    assert lines[2].startswith("| levit | AI Edge Quantizer | ValueError: no lowering |")
    assert len(lines) == len(made) == 8
    benchmark.measure(args)
    assert len(made) == 8  # what is saved is not made again
    benchmark.measure(benchmark.build_parser().parse_args([*words, "--again"]))
    assert made[8:] == [("levit", "aeq"), ("levit", "pt2e")]
    assert all(callable(getattr(benchmark, name)) for name in benchmark.TRANSFORMERS)


def test_random_weights_are_no_chaos():
    """Noise of 1% at the input of a deep network with batch norms stays far from drowning its logits."""
    torch = pytest.importorskip("torch")
    benchmark = importlib.import_module("own_networks")
    layers = []
    for i in range(30):
        layers += [torch.nn.Conv2d(16 if i else 3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 10))
    benchmark.randomize_(net, 16)
    torch.manual_seed(0)
    x = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        exact, other = net(x), net(x + 0.01 * torch.randn_like(x))
    assert float((other - exact).norm() / exact.norm()) < 0.05
    assert float((exact - exact.mean(0)).norm() / exact.norm()) > 0.01  # and pictures still differ


def test_lite0_int8():
    benchmark = importlib.import_module("lite0_int8")
    result = {
        "tool": "best", "float_top1": 70.0, "top1": 69.5, "lost": 20, "won": 10, "drop_points": 0.5,
        "interval_points": (-0.1, 1.1), "sqnr_db": 15.0, "agreement": 0.93, "size_bytes": 5_000_000, "num_images": 2000,
    }  # fmt: skip
    text = benchmark.table([result])
    assert "| ours, `--calib-method best` | 5.00 | 69.50 | 0.50 (-0.10 to 1.10) | 20, 10 | 93.00% | 15.0 |" in text
    assert text.endswith("float: 70.00% on 2000 pictures, a thousand classes")


PLACED = {"partitions": 1, "on_npu": {"Conv": 3, "Add": 2}, "on_cpu": ["DequantizeLinear last"], "seconds": 1.5}


def test_hexagon():
    benchmark = importlib.import_module("hexagon")
    row = {
        "file": "levit_128s_int16", "partitions": 1, "on_npu": 1611, "on_cpu": ["QuantizeLinear a", "QuantizeLinear b"],
        "top1": 81.5, "float_top1": 82.0, "same_as_float": 99.5, "db_to_float": 40.0, "cpu_same_as_float": 100.0,
        "cpu_db_to_float": 41.0, "same_as_cpu": 99.0, "db_to_cpu": 50.0,
    }  # fmt: skip
    assert benchmark.line(row) == (
        "| levit_128s_int16 | 1 | 1611 | 2 QuantizeLinear | 81.5% (82.0%) | 99.5%, 40.0 | 100.0%, 41.0 | 99.0%, 50.0 |"
    )
    assert not benchmark.is_cut(row) and benchmark.is_cut(row | {"partitions": 2})
    assert benchmark.is_cut(row | {"on_cpu": ["Softmax a"]})


def test_hexagon_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    benchmark = importlib.import_module("hexagon")
    started, failing = [], {3: ValueError("the simulator ended"), 5: KeyboardInterrupt()}

    class Simulator:
        placement = benchmark.Placement(**PLACED | {"on_cpu": ("DequantizeLinear last",)})

        def __init__(self, path):
            started.append(path)

        def close(self):
            pass

    class Artefact:
        def __init__(self, manifest, simulator):
            pass

        def run(self, images):
            value = int(images[0, 0, 0, 0])
            if value in failing:
                raise failing.pop(value)
            return np.full((1, 10), value, np.float32)

    manifest = SimpleNamespace(file=SimpleNamespace(sha256="a"))
    monkeypatch.setattr(benchmark, "Simulator", Simulator)
    monkeypatch.setattr(benchmark, "Artefact", Artefact)
    monkeypatch.setattr(benchmark, "load_for", lambda path: manifest)
    pixels = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    path = tmp_path / "m.onnx"
    with pytest.raises(KeyboardInterrupt):
        benchmark.simulate(path, pixels, 2)
    assert len(started) == 4  # 0 and 1; 2, and at 3 it ended; 3 and 4; at 5 the run was cut off
    logits, placement = benchmark.simulate(path, pixels, 2)
    assert logits[:, 0].tolist() == [0, 1, 2, 3, 4, 5] and placement.on_npu == {"Conv": 3, "Add": 2}
    assert len(started) == 5  # for 5 alone
    assert benchmark.simulate(path, pixels, 2)[0].shape == (6, 10) and len(started) == 5
    assert benchmark.simulate(path, pixels[::-1], 2)[0][0, 0] == 5 and len(started) == 8  # others, all anew


def test_webgpu():
    benchmark = importlib.import_module("webgpu")
    good = {"whole": True, "same_top1": 1.0, "db": 60.0}
    row = {"file": "a.tflite", "weights": "random", "fp16": good | {"db": 13.4}, "fp32": good}
    assert benchmark.line(row) == "| a.tflite | random | yes | 100%, 13.4 | 100%, 60.0 |" and benchmark.is_good(row)
    assert benchmark.is_good(row | {"fp16": {"error": "no half precision"}})
    assert not benchmark.is_good(row | {"fp32": good | {"db": 50.0}})
    refused = row | {"fp32": {"error": "no kernel for CAST"}}
    assert benchmark.line(refused).endswith("| no | 100%, 13.4 | no kernel for CAST |")
    assert not benchmark.is_good(refused)
