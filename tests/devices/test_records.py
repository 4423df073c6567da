import csv
import json
from pathlib import Path

import pytest

from edge_vit.devices import compare, records
from edge_vit.devices.records import Record
from edge_vit.devices.runners import Output


def make(model: str = "m.tflite", level_us: float = 5000, number: int = 200, **change: object) -> Record:
    record = Record(
        model=model,
        model_sha256="ab" * 32,
        model_bytes=1000,
        device_name="R5C",
        started="2026-01-01T00:00:00+00:00",
        threads=1,
        cores="big",
        max_drift=0.05,
        runs_asked=50,
        device={"model": "Google Pixel 7", "system": "Android 14", "soc": "Tensor G2"},
        runner={"name": "litert_runner", "version": "2.3.0", "sha256": "cd" * 32},
        is_complete=True,
    )
    for key, value in change.items():
        setattr(record, key, value)
    if number:
        samples = [level_us + (i * 37 % 101) for i in range(number)]
        record.add_round(output(samples), 0)
    return record


def output(samples: list[float], **change: object) -> Output:
    found = Output(
        samples_us=samples,
        warmup_us=[6000.0],
        load_us=1000,
        compile_us=20000,
        first_us=9000,
        is_steady=True,
        peak_kb=2048,
    )
    for key, value in change.items():
        setattr(found, key, value)
    return found


def test_figures_come_from_the_samples() -> None:
    found = make().as_dict()["figures"]
    assert found["num_samples"] == 200 and found["unit"] == "ms"
    assert found["p50"] == pytest.approx(5.05, abs=0.002) and found["p90"] == pytest.approx(5.09, abs=0.002)
    assert found["p50_interval"][0] <= found["p50"] <= found["p50_interval"][1] and found["p99_interval"] is None
    assert (found["first_ms"], found["cold_start_ms"]) == (9.0, 30.0)
    assert found["marks"] == [] and not found["is_throttled"]


def test_drift_marks_a_run() -> None:
    slower = make(number=0)
    slower.add_round(output([5000 + 0.4 * i * 10 for i in range(500)]), 0)
    found = slower.as_dict()["figures"]
    assert found["marks"] == ["throttled", "not reproducible"] and found["drift"] > 0.2


def test_repeats_that_disagree_mark_a_run() -> None:
    record = make()
    record.add_round(output([6000.0 + i % 7 for i in range(200)]), 1)
    found = record.as_dict()["figures"]
    assert found["spread"] == pytest.approx(0.189, abs=0.01) and found["marks"] == ["not reproducible"]


def test_few_runs_and_unsteady_warm_up_are_marked() -> None:
    record = make(number=0)
    record.add_round(output([5000.0] * 20, is_steady=False), 0)
    assert record.as_dict()["figures"]["marks"] == ["warm-up not steady", "under 50 runs"]


def test_heat_is_marked() -> None:
    assert make(state_after={"thermal_status": "moderate"}).as_dict()["figures"]["marks"] == ["hot (moderate)"]
    assert make(state_after={"thermal_status": "none"}).as_dict()["figures"]["marks"] == []


def test_failures_are_marked_with_what_is_left() -> None:
    failure = {"kind": "disconnected", "message": "device R5C disconnected"}
    assert make(failure=failure).as_dict()["figures"]["marks"] == ["partial: disconnected"]
    assert make(number=0, failure=failure).as_dict()["figures"]["marks"] == ["failed: disconnected"]


def test_an_emulated_record_keeps_no_time_at_all() -> None:
    record = make(number=0, emulated=True)
    record.add_round(output([5000.0] * 60), 0)
    plain = record.as_dict()
    assert plain["rounds"] == [{"repeat": 0, "num_samples": 60}]
    assert plain["figures"] == {"num_samples": 60, "marks": ["emulated"]}
    assert plain["peak_kb"] is None and "5000" not in json.dumps(plain)
    shown = records.table([plain])
    assert records.EMULATED in shown and " ms" not in shown and records.PREPROCESSING not in shown


def test_ratio_needs_two_whole_measured_models() -> None:
    pair = [make("a.tflite", 5000), make("b.tflite", 10000)]
    for record in pair:
        record.add_round(output([v * 1.01 for v in record.samples_us()]), 0)
    compare.ratios(pair)
    assert pair[1].ratio is not None and pair[1].ratio["value"] == pytest.approx(1.99, abs=0.02)
    assert pair[1].ratio["low"] < pair[1].ratio["value"] < pair[1].ratio["high"]
    broken = [make("a.tflite"), make("b.tflite", failure={"kind": "offline", "message": "x"})]
    compare.ratios(broken)
    assert broken[1].ratio is None


def test_table_shows_intervals_ratio_and_what_is_not_counted() -> None:
    pair = [make("a.tflite", 5000), make("b.tflite", 25000, failure={"kind": "no space", "message": "full"})]
    pair[0].ratio = {"value": 0.5, "low": 0.49, "high": 0.51}
    shown = records.table([r.as_dict() for r in pair])
    assert "Google Pixel 7 (R5C)" in shown and "0.500 [0.490, 0.510]" in shown and "partial: no space" in shown
    assert "preprocessing is not counted" in shown and "25.05 [25.0" in shown
    assert "against first" in shown.splitlines()[0] and shown.splitlines()[0].count("output") == 0  # empty: left out


def test_results_gather_in_a_folder(tmp_path: Path) -> None:
    for level in (9000.0, 4000.0):
        records.append(tmp_path / "r", [make(f"m{level:.0f}.tflite", level).as_dict()])
    gathered = records.load(tmp_path / "r")
    assert [g["model"] for g in gathered] == ["m9000.tflite", "m4000.tflite"]
    assert len(gathered[0]["rounds"][0]["samples_us"]) == 200  # nothing is thrown away
    lines = (tmp_path / "r" / "results.md").read_text().splitlines()
    assert lines[2].startswith("| device |") and "m4000" in lines[4] and "m9000" in lines[5]
    (tmp_path / "r" / "results.jsonl").write_text("broken")
    with pytest.raises(ValueError, match=r"results.jsonl line 1 is not a record; repair or remove it"):
        records.load(tmp_path / "r")
    assert records.load(tmp_path / "none") == []


def test_csv_has_bare_numbers(tmp_path: Path) -> None:
    records.write_csv(tmp_path / "x.csv", [make().as_dict(), make(number=0, emulated=True).as_dict()])
    with open(tmp_path / "x.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert float(rows[0]["p50"]) == pytest.approx(5.05, abs=0.002) and rows[0]["device_model"] == "Google Pixel 7"
    assert rows[0]["complete"] == "True" and rows[1]["emulated"] == "True" and rows[1]["p50"] == ""


def test_sustained_stretches_join() -> None:
    record = make()
    record.add_sustained(output([1e5] * 100), 10)
    record.add_sustained(Output(summary={"median": 7.0}), 42.0)
    times = [t for t, _ in record.sustained]
    assert times == sorted(times) and record.sustained[-1] == [42.0, 7.0]
