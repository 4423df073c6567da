"""The app measures as bench_arm does, and its results are bench_arm's records."""

import dataclasses

import numpy as np
import pytest

from edge_vit.devices import records, results, stats


@pytest.fixture
def record(ask, make_model):
    """Make a record in the app's classes from given samples."""

    def record(samples, runs=50, **more):
        model = make_model()
        request = {"do": "record", "folder": str(model.parent), "model": model.name}
        return ask(request | {"samples_us": samples, "runs": runs} | more)[0]["record"]

    return record


def latencies(number, slope=0.0, seed=0):
    noise = np.random.default_rng(seed).gamma(4, 30, number)
    return [round(float(v), 1) for v in 4000 + noise + slope * np.arange(number)]


@pytest.mark.parametrize(
    "samples", [latencies(200), latencies(60, 30.0, 1), latencies(25, 9.0, 2), latencies(7), [4000.0]], ids=len
)  # fmt: skip
def test_figures_are_those_of_bench_arm(samples, record):
    made = record(samples, runs=len(samples))
    own = {key: value for key, value in made.items() if key not in ("figures", "device_name")}
    same = records.Record(**own, device_name="app")
    expected = records.figures(same)
    for name in ("p50", "p90", "p99"):
        expected[f"{name}_interval"] = None  # bench_arm draws them with numpy's generator
    assert made["figures"] == expected
    assert made["figures"]["p90"] == pytest.approx(stats.quantile(samples, 90) / 1000, abs=5e-5)


def test_the_record_has_the_fields_of_bench_arm(record):
    fields = dataclasses.fields(records.Record)
    required = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    made = set(record(latencies(60)))
    assert required <= made <= {f.name for f in fields} | {"figures"}


def test_the_record_joins_the_tables(record, tmp_path):
    import json

    made = record(latencies(60))
    (tmp_path / "results.jsonl").write_text(json.dumps(made) + "\n")
    assert "android_demo ExecuTorch" in results.markdown(results.load(tmp_path))
    assert "Test Phone (app)" in results.table([made])
    results.write_csv(tmp_path / "results.csv", [made])


def test_a_broken_off_run_is_partial(record):
    made = record(latencies(30), runs=50)
    assert not made["is_complete"] and made["failure"]["kind"] == "interrupted"
    assert made["figures"]["marks"][0] == "partial: interrupted"
    assert record([], runs=50)["figures"] == {"num_samples": 0, "marks": ["failed: interrupted"]}


def test_an_emulator_gives_no_times(record):
    made = record(latencies(60), is_emulated=True)
    assert made["figures"] == {"num_samples": 60, "marks": ["emulated"]}
    assert made["rounds"] == [{"repeat": 0, "num_samples": 60}] and made["peak_kb"] is None
    assert "p50" not in results.table([made]).splitlines()[0]


def run(ask, us, **more):
    request = {"do": "benchmark", "latencies_us": us, "threads": 1, "warmup_runs": 3, "runs": 50, **more}
    return ask(request)[0]


def test_warm_up_ends_when_the_latency_is_steady(ask):
    settling = [9000, *range(3000, 2000, -50), *[2000] * 200]
    made = run(ask, settling)
    assert made["first_us"] == 9000 and made["is_steady"] and made["num_samples"] == 50
    assert 30 <= made["num_warmup"] <= 45


def test_warm_up_gives_up_after_its_time(ask):
    restless = [1000 if (i // 10) % 2 else 2000 for i in range(5000)]
    made = run(ask, restless, warmup_runs=400)
    assert not made["is_steady"] or made["num_warmup"] >= 400
    growing = [int(1000 * 1.02**i) for i in range(400)]
    assert run(ask, growing)["is_steady"] is False


def test_stopping_keeps_what_was_measured(ask):
    assert run(ask, [2000] * 300, stop_after=7)["num_samples"] == 7


def test_time_limit_ends_the_measurement(ask):
    made = run(ask, [2_000_000] * 100)
    assert made["num_samples"] < 10


@pytest.mark.parametrize(
    "change, message",
    [
        ({"threads": 0}, "threads is 0; allowed are 1 to 64"),
        ({"runs": 0}, "runs is 0; allowed are 1 to 100000"),
        ({"warmup_runs": -1}, "warmup_runs is -1; allowed are 0 or more"),
    ],
)
def test_settings_that_make_no_sense(change, message, ask):
    assert run(ask, [1000], **change) == {"error": message}
