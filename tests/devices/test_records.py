import json

import pytest
from device_records import make, output

from edge_vit.devices import compare, results
from edge_vit.devices.runners import Output


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
    shown = results.table([plain])
    assert results.EMULATED in shown and " ms" not in shown and results.PREPROCESSING not in shown


def test_ratio_needs_two_whole_measured_models() -> None:
    pair = [make("a.tflite", 5000), make("b.tflite", 10000)]
    for record, slower in zip(pair, (1.01, 1.012), strict=True):
        record.add_round(output([v * slower for v in record.samples_us()]), 0)
    compare.ratios_(pair)
    assert pair[1].ratio is not None and pair[1].ratio["value"] == pytest.approx(1.99, abs=0.02)
    assert pair[1].ratio["low"] < pair[1].ratio["value"] < pair[1].ratio["high"]
    broken = [make("a.tflite"), make("b.tflite", failure={"kind": "offline", "message": "x"})]
    compare.ratios_(broken)
    assert broken[1].ratio is None


def test_sustained_stretches_join() -> None:
    record = make()
    record.add_sustained(output([1e5] * 100), 10)
    record.add_sustained(Output(summary={"median": 7.0}), 42.0)
    times = [t for t, _ in record.sustained]
    assert times == sorted(times) and record.sustained[-1] == [42.0, 7.0]


def test_a_runner_that_tells_no_median_leaves_a_record_all_the_same() -> None:
    """Older builds of benchmark_model print count, min, max, avg and std only."""
    told = {"count": 182.0, "min": 5202.0, "max": 7120.0, "avg": 5432.7, "std": 201.0}
    record = make(number=0)
    record.add_round(output([], summary=told), 0)
    record.add_round(output([], summary=told), 1)
    plain = record.as_dict()
    assert plain["figures"]["num_samples"] == 364 and plain["figures"]["p50"] is None
    assert plain["figures"]["spread"] is None and plain["figures"]["marks"] == ["the runner told no median"]
    assert "the runner told no median" in results.table([plain]) and results.markdown([plain])
    pair = [make("a.tflite"), record]
    compare.ratios_(pair)
    assert pair[1].ratio is None


def test_a_round_that_broke_off_in_its_warm_up_does_not_hide_the_others() -> None:
    summary = {"count": 934.0, "median": 5310.0, "p95": 5480.0}
    record = make(number=0, failure={"kind": "disconnected", "message": "gone"})
    record.add_round(output([], summary=summary), 0)
    record.add_round(output([]), 1)  # warm-up alone
    found = record.as_dict()["figures"]
    assert (found["num_samples"], found["p50"], found["p95"], found["spread"]) == (934, 5.31, 5.48, None)
    assert found["marks"] == ["partial: disconnected"]
