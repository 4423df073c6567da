"""The app measures as bench_arm does, and its results are bench_arm's records."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from edge_vit.devices import device_info, records, results, stats

DEMO = Path(__file__).parents[2] / "android_demo"


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


def test_the_record_is_imported(record, tmp_path):
    import json

    from edge_vit.devices import imported

    made = record(latencies(200), runs=200)
    (tmp_path / "farm-0-GPU.json").write_text(json.dumps(made))
    (plain,), failures = imported.read(tmp_path)
    assert not failures and plain["figures"]["p50"] == made["figures"]["p50"] and plain["figures"]["p50_interval"]
    (group,) = imported.summarise([plain])
    assert (group.accelerator, group.phones, group.worst_phone) == ("GPU, rest on CPU", 1, "Test Phone")


def test_two_models_in_one_shared_file_are_imported(record, tmp_path):
    import json

    from edge_vit.devices import imported

    first = record([], turns_us=TURNS, runs=60)
    others = [[us / 2 + 40 * i for us in turn] for i, turn in enumerate(TURNS)]
    second = record([], turns_us=TURNS, others_us=others, runs=60) | {"model_sha256": "f" * 64, "model": "b.pte"}
    (tmp_path / "edge_vit.json").write_text(json.dumps([first, second]))
    plains, failures = imported.read(tmp_path)
    assert not failures and [one["ratio"] is None for one in plains] == [True, False]
    assert "b.pte" in results.table(plains)


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


TURNS = [latencies(60, seed=seed) for seed in range(4)]


def test_turns_are_rounds_of_bench_arm(record):
    """Drift is looked for within a turn, and the ratio is bench_arm's."""
    others = [[us * 2 + 40 * i for us in turn] for i, turn in enumerate(TURNS)]
    made = record([], turns_us=TURNS, others_us=others, runs=60)
    own = {key: value for key, value in made.items() if key not in ("figures", "device_name")}
    expected = records.figures(records.Record(**own, device_name="app"))
    for name in ("p50", "p90", "p99"):
        expected[f"{name}_interval"] = None
    # Repeats of one record would be compared; turns of a model are not repeats.
    assert made["figures"] == expected and made["is_complete"]
    assert [one["num_samples"] for one in made["rounds"]] == [60] * 4
    assert [one["load_us"] is None for one in made["rounds"]] == [False, True, True, True]
    assert made["ratio"] == pytest.approx(stats.ratio(TURNS, others).as_dict())


def test_a_run_broken_off_between_turns_is_partial(record):
    made = record([], turns_us=TURNS[:3], turns_asked=4, runs=60)
    assert not made["is_complete"] and made["figures"]["marks"][0] == "partial: interrupted"
    assert made["ratio"] is None


def test_a_long_run_tells_latency_over_time_and_the_temperature(record):
    samples = latencies(500, 3.0)
    made = record(samples, runs=100, seconds=60)
    np.testing.assert_allclose(made["sustained"], stats.curve(samples), atol=0.051)
    assert made["temperatures"] == [[0.0, 31.0], [1.0, 31.2]]
    assert record(samples, runs=100, seconds=5)["sustained"] == []


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_ratios_and_curves_are_those_of_bench_arm(number, ask):
    mine, theirs = ([latencies(80, seed=10 * i + n) for n in range(number)] for i in (1, 2))
    (found,) = ask({"do": "stats", "mine": mine, "theirs": theirs})
    assert {key: found[key] for key in ("value", "low", "high")} == pytest.approx(stats.ratio(mine, theirs).as_dict())
    np.testing.assert_allclose(found["curve"], stats.curve(mine[0]))


def test_too_many_turns_are_refused(ask):
    answer = ask({"do": "stats", "mine": [[1.0]] * 6, "theirs": [[1.0]] * 6})
    assert answer == [{"error": "6 turns against 6; expected 1 to 5 of each"}]


def test_two_models_take_turns(ask):
    (found,) = ask({"do": "turns", "latencies_us": [2000, 5000], "runs": 25})
    assert found["order"] == [2000, 5000, 2000, 5000, 2000]  # A B, B A, A B, B A: neighbours of one model join
    assert found["counts"] == [[25] * 4] * 2 and found["ratio"] == pytest.approx(2.5)
    # The second's line begins after the first's 25 inferences and its own first one; a point is a stretch's middle.
    first, second = found["begins"]
    assert second - first == pytest.approx((25 * 2000 + 5000) / 1e6, abs=0.004)


def test_breaking_off_ends_all_turns(ask):
    (found,) = ask({"do": "turns", "latencies_us": [2000, 5000], "runs": 25, "stop_after": 60})
    assert found["counts"] == [[25], [25, 10]]  # A B, then B again until the 60th; its turns are no pairs with A's
    assert found["ratio"] is None


def test_one_model_is_measured_alone(ask):
    (found,) = ask({"do": "turns", "latencies_us": [2000], "runs": 5})
    assert found["order"] == [2000] and found["counts"] == [[5] * 4] and found["ratio"] is None


def test_frames_a_second(ask):
    steady = [1000 + 40 * i for i in range(20)]
    assert ask({"do": "frames", "at_ms": steady})[0]["rates"] == pytest.approx([25.0] * 14)
    slower = [*steady, *(steady[-1] + 80 * i for i in range(1, 101))]
    found = ask({"do": "frames", "at_ms": slower})[0]["rates"]
    assert len(found) == 60 and found[-1] == pytest.approx(12.5)
    assert ask({"do": "frames", "at_ms": steady[:6]})[0]["rates"] == []
    assert ask({"do": "frames", "at_ms": [*steady, steady[-1] + 5000]})[0]["rates"] == []  # the camera was closed


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


@pytest.mark.parametrize(
    "events, samples, reason",
    [
        ([], 50, None),
        (["", "", "background"], 3, "the app went to the background"),
        (["background", "foreground"], 1, "the app went to the background"),
        (["", "camera"], 2, "the camera was opened"),
        (["user"], 1, "stopped by the user"),
    ],
    ids=["undisturbed", "background", "back again", "camera", "user"],
)
def test_a_run_ends_in_the_background_and_when_the_camera_streams(events, samples, reason, ask):
    assert ask({"do": "guard", "events": events}) == [{"num_samples": samples, "reason": reason}]


def test_a_broken_off_record_says_why(record):
    made = record(latencies(30), runs=50, stopped_because="the app went to the background")
    assert made["failure"] == {
        "kind": "interrupted",
        "message": "stopped before all inferences were run: the app went to the background",
    }


def test_the_record_tells_the_device_before_and_after(record):
    made = record(latencies(60), heat="severe")
    before, after = made["state_before"], made["state_after"]
    assert before.keys() == after.keys() >= {field.name for field in dataclasses.fields(device_info.State)}
    assert (before["thermal_status"], after["thermal_status"]) == ("none", "severe")
    assert before["thermal_headroom"] == 0.4 and before["battery_percent"] == 80 and before["is_charging"]
    assert before["app"] == {"is_foreground": True, "is_camera_open": False, "is_power_saving": False}
    assert "hot (severe)" in made["figures"]["marks"]
    own = {key: value for key, value in made.items() if key not in ("figures", "device_name")}
    assert records.figures(records.Record(**own, device_name="app"))["marks"] == made["figures"]["marks"]
    assert made["runner"]["accelerator"] == "GPU, rest on CPU" and made["runner"]["accelerator_asked"] == "GPU"


def test_the_peak_is_the_most_that_was_ever_resident(ask, tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("VmPeak:\t 9000 kB\nVmHWM:\t   51234 kB\nVmRSS:\t   40000 kB\n")
    assert ask({"do": "kernel", "root": str(tmp_path)})[0]["peak_kb"] == 51234


def test_this_machines_own_peak_is_read(ask):
    (here,) = ask({"do": "kernel", "root": "/"})
    assert 10_000 < here["peak_kb"] < 4_000_000


def test_clusters_are_those_of_bench_arm(ask, tmp_path):
    """The same made-up phone, read by the app's classes and by bench_arm's."""
    cpus = tmp_path / "sys/devices/system/cpu"
    lines = []
    for policy, cores, capacity, khz, governor in (
        (4, (4, 5), 1024, 2400000, "performance"),
        (0, (0, 1), 384, 1800000, "walt"),
    ):
        folder = cpus / f"cpufreq/policy{policy}"
        folder.mkdir(parents=True)
        for name, value in (
            ("related_cpus", " ".join(map(str, cores))),
            ("cpuinfo_max_freq", khz),
            ("scaling_governor", governor),
        ):
            (folder / name).write_text(f"{value}\n")
        lines.append(f"policy {khz} {governor} {' '.join(map(str, cores))}")
        for core in cores:
            (cpus / f"cpu{core}").mkdir()
            (cpus / f"cpu{core}/cpu_capacity").write_text(f"{capacity}\n")
            lines.append(f"capacity {core} {capacity}")
    (cpus / "cpufreq/policy4/scaling_cur_freq").write_text("1900000\n")
    (made,) = ask({"do": "kernel", "root": str(tmp_path)})
    expected = [dataclasses.asdict(one) for one in device_info.parse_clusters("\n".join(lines))]
    assert made["clusters"] == [one | {"cores": list(one["cores"])} for one in expected]
    assert made["clocks_khz"] == {"4": 1900000}


def test_what_a_phone_hides_is_left_out(ask, tmp_path):
    assert ask({"do": "kernel", "root": str(tmp_path)}) == [{"peak_kb": None, "clusters": [], "clocks_khz": {}}]


@pytest.mark.parametrize(
    "asked, working, tried, runs_on",
    [
        ("CPU", ["CPU"], ["CPU"], "CPU"),
        ("GPU", ["GPU", "GPU+CPU", "CPU"], ["GPU"], "GPU"),
        ("GPU", ["GPU+CPU", "CPU"], ["GPU", "GPU+CPU"], "GPU, rest on CPU"),
        ("NPU", ["CPU"], ["NPU", "NPU+CPU", "CPU"], "CPU instead of NPU"),
    ],
)
def test_what_really_runs_is_told(asked, working, tried, runs_on, ask):
    request = {"do": "fallback", "asked": asked, "working": working}
    assert ask(request) == [{"accelerator": runs_on, "tried": tried}]


def test_a_model_that_runs_nowhere_says_what_the_cpu_said(ask):
    assert ask({"do": "fallback", "asked": "GPU", "working": []}) == [{"error": "CPU does not work"}]


def activity(name):
    return (DEMO / f"app/src/main/java/edgevit/demo/{name}.java").read_text()


def test_the_app_tells_its_guard_what_happens():
    """Android's own classes cannot run here; that they pass on what happens is held by reading."""
    assert re.search(r"void onPause\(\) \{\s+guard\.setForeground\(false\);", activity("BenchActivity"))
    main = (
        r"void onPause\(\) \{\s+if \(!isChangingConfigurations\(\)\) \{.*\s+viewModel\.guard\.setForeground\(false\);"
    )
    assert re.search(main, activity("MainActivity"))
    # Turning the device must not begin its measurement anew.
    manifest = (DEMO / "app/src/main/AndroidManifest.xml").read_text()
    assert re.search(r'"\.BenchActivity"\s+android:configChanges="orientation\|', manifest)
    assert "guard.setCameraOpen(true)" in activity("CameraFeed") and "guard.setCameraOpen(false)" in activity(
        "CameraFeed"
    )
    assert re.search(
        r"void onMeasurePressed\(\) \{\s+closeCamera\(\);\s+viewModel\.measure\(\);", activity("MainActivity")
    )
    assert "new Benchmark.Settings(threads, 0, 1, 30, 100, seconds, seconds + 55)" in activity("ClassifierViewModel")
