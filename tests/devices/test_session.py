"""A whole measurement on this machine, with the real runner."""

import platform
from pathlib import Path

import pytest

from edge_vit.devices import compare
from edge_vit.devices.local import LocalMachine
from edge_vit.devices.machine import MachineError
from edge_vit.devices.records import Record
from edge_vit.devices.session import Session
from edge_vit.devices.settings import Settings

pytestmark = pytest.mark.needs_tflite
QUICK = Settings(
    runs=60, min_s=0.2, warmup_runs=5, warmup_s=0.1, max_warmup_s=2, rounds=3, cool_down_s=0.1, max_drift=50
)


@pytest.fixture(autouse=True)
def needs_the_runtime(cache_dir: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    if platform.system() != "Linux":
        pytest.skip("the runner is for Linux")


def measure(
    models: list[Path], settings: Settings, cache_dir: Path, machine: LocalMachine | None = None
) -> list[Record]:
    said: list[str] = []
    return Session(machine or LocalMachine(), models, settings, cache_dir, said.append).measure()


def test_two_models_alternately(cache_dir: Path, tiny_fp32: Path, tiny_int8: Path) -> None:
    said: list[str] = []
    measured = Session(LocalMachine(), [tiny_fp32, tiny_int8], QUICK, cache_dir, said.append)
    records = measured.measure()
    compare.ratios_(records)
    order = [line.split()[-1] for line in said if ": running" in line]
    a, b = "tiny_fp32.tflite", "tiny_int8.tflite"
    assert order == [a, b, b, a, a, b]
    for record in records:
        found = record.as_dict()
        figures = found["figures"]
        assert found["is_complete"] and len(found["rounds"]) == 3 and figures["num_samples"] >= 180
        assert 0.001 < figures["p50"] <= figures["p90"] <= figures["p99"] < 1000
        low, high = figures["p50_interval"]
        assert low <= figures["p50"] <= high
        assert figures["first_ms"] > figures["p50"] and figures["cold_start_ms"] > figures["first_ms"]
        assert found["peak_kb"] > 5000 and found["output_sha256"] and len(found["rounds"][0]["warmup_us"]) >= 5
        assert found["state_before"] is not None and found["state_after"] is not None
        assert found["device"]["machine"] == platform.machine() and not found["emulated"]
    # The int8 model's batch matmul runs in LiteRT's slow kernel: several times slower on every machine.
    ratio = records[1].ratio
    assert records[0].ratio is None and ratio is not None
    assert ratio["value"] > 1.3 and ratio["low"] <= ratio["value"] <= ratio["high"]
    assert not list(Path(measured.machine.temporary).glob(Path(measured.folder).name))


def test_repeats_and_sustained_run(cache_dir: Path, tiny_fp32: Path) -> None:
    settings = Settings(
        runs=50, min_s=0.1, warmup_runs=2, warmup_s=0, max_warmup_s=1, repeat=2, cool_down_s=0.1, sustained_min=0.01
    )
    (record,) = measure([tiny_fp32], settings, cache_dir)
    assert [entry["repeat"] for entry in record.rounds] == [0, 1]
    assert record.as_dict()["figures"]["spread"] is not None
    times = [t for t, _ in record.sustained]
    assert len(times) > 20 and times == sorted(times) and times[-1] == pytest.approx(0.6, rel=0.5)


def test_pinned_to_one_core(cache_dir: Path, tiny_fp32: Path) -> None:
    (record,) = measure([tiny_fp32], Settings(runs=50, min_s=0, warmup_s=0, max_warmup_s=1, cores="1"), cache_dir)
    assert record.is_complete and record.mask == 1


def test_a_core_that_is_not_there_is_told(cache_dir: Path, tiny_fp32: Path) -> None:
    (record,) = measure([tiny_fp32], Settings(cores="8000000000000000"), cache_dir)
    assert record.failure is not None and record.failure["kind"] == "runner failed"
    assert "litert_runner failed on local" in record.failure["message"] and "taskset" in record.failure["message"]


def test_a_missing_runner_is_told(cache_dir: Path, tiny_fp32: Path, tmp_path: Path) -> None:
    (record,) = measure([tiny_fp32], Settings(runner=tmp_path / "none"), cache_dir)
    assert record.failure == {"kind": "no runner", "message": f"no runner {tmp_path / 'none'}"}
    program = tmp_path / "m.pte"
    program.write_bytes(b"pte")
    (record,) = measure([program], Settings(), cache_dir)
    assert (
        record.failure is not None and record.failure["kind"] == "no runner" and "--runner" in record.failure["message"]
    )


def test_the_models_failure_does_not_stop_the_other(
    cache_dir: Path, tiny_fp32: Path, tiny_int8: Path, tmp_path: Path
) -> None:
    """One model's name makes this wrapper of the real runner fail at its second round."""
    from edge_vit.devices import runner_build

    wrapper = tmp_path / "litert_runner"
    wrapper.write_text(
        '#!/bin/sh\ncase "$*" in *int8*) [ -e once ] && echo broke >&2 && exit 6; : >once;; esac\n'
        f'exec {runner_build.local_runner(cache_dir)} "$@"\n'
    )
    fine, spoiled = measure(
        [tiny_fp32, tiny_int8],
        Settings(runs=50, min_s=0, warmup_s=0, max_warmup_s=1, rounds=2, runner=wrapper),
        cache_dir,
    )
    assert fine.is_complete and len(fine.rounds) == 2
    assert not spoiled.is_complete and len(spoiled.rounds) == 1 and spoiled.samples_us()
    assert spoiled.failure is not None
    assert "failed at an inference on local (exit code 6, tiny_int8.tflite): broke" in spoiled.failure["message"]
    assert "partial: runner failed" in spoiled.as_dict()["figures"]["marks"]


def test_a_runner_that_says_nothing_is_told(cache_dir: Path, tiny_fp32: Path, tmp_path: Path) -> None:
    silent = tmp_path / "litert_runner"
    silent.write_text("#!/bin/sh\n")
    (record,) = measure([tiny_fp32], Settings(runner=silent), cache_dir)
    assert record.failure == {
        "kind": "runner failed",
        "message": "litert_runner on local printed no result for tiny_fp32.tflite",
    }


def test_benchmark_model_in_a_round(cache_dir: Path, tiny_fp32: Path, tmp_path: Path) -> None:
    """A stand-in that prints benchmark_model's summary: no such binary can be had for this machine."""
    program = tmp_path / "benchmark_model"
    program.write_text(
        "#!/bin/sh\n"
        "echo 'INFO: count=182 first=7120 curr=5301 min=5202 max=7120 avg=5432.7 std=201 median=5390 p95=5801'\n"
        "echo 'INFO: count=934 first=5301 curr=5299 min=5190 max=6233 avg=5330.1 std=88 median=5310 p95=5480'\n"
        "echo 'INFO: Inference timings in us: Init: 11231, First inference: 7120, Warmup (avg): 5432.7, Inference: 0'\n"
    )
    (record,) = measure([tiny_fp32], Settings(runner=program, sustained_min=0.001), cache_dir)
    figures = record.as_dict()["figures"]
    assert (figures["num_samples"], figures["p50"], figures["p95"]) == (934, 5.31, 5.48)
    assert figures["p50_interval"] is None and "p90" not in figures and figures["cold_start_ms"] == 18.351
    assert [us for _, us in record.sustained][:1] == [5310.0]


def test_executor_runner_fills_the_minimum_time(cache_dir: Path, tmp_path: Path) -> None:
    """A stand-in that prints executor_runner's log lines, 5 ms an iteration, and writes an output."""
    program = tmp_path / "executor_runner"
    program.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case $word in\n'
        "--num_executions=*) n=${word#*=};; --output_file=*) out=${word#*=};; esac; done\n"
        "echo 'I 00:00:00.01 executorch:executor_runner.cpp:404] Model loaded in 42.5 ms.'\n"
        "i=1; while [ $i -le $n ]; do\n"
        'echo "I 00:00:01 executorch: Iteration $i of $n: 5.000000 ms"; i=$((i + 1)); done\n'
        "printf logits >$out-0.bin; echo 'Model executed successfully'\n"
    )
    model = tmp_path / "m.pte"
    model.write_bytes(b"pte")
    settings = Settings(runner=program, runs=50, min_s=1, warmup_runs=5, sustained_min=0.02)
    (record,) = measure([model], settings, cache_dir)
    figures = record.as_dict()["figures"]
    assert record.is_complete and figures["num_samples"] == 200 and figures["p50"] == 5.0
    assert record.rounds[0]["load_us"] == 42500 and len(record.rounds[0]["warmup_us"]) == 5
    assert record.output == b"logits"
    assert record.sustained[-1][0] == pytest.approx(1.2, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"repeat": 0}, "repeat is 0"),
        ({"min_s": -1}, "min_s is -1; it must not be negative"),
        ({"max_drift": 0}, "max_drift is 0; it must be positive"),
    ],
)
def test_settings_are_checked(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**change)


def test_copying_onto_a_full_or_missing_place_is_told(tmp_path: Path, tiny_fp32: Path) -> None:
    with pytest.raises(MachineError, match=r"cannot copy .*: No such file or directory"):
        LocalMachine().push(tiny_fp32, str(tmp_path / "no" / "such"))
    with pytest.raises(MachineError, match="No space left on device") as caught:
        LocalMachine().push(tiny_fp32, "/dev/full")
    assert caught.value.kind == "no space"


def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(MachineError, match="a command did not end within 1 s"):
        LocalMachine().run("sleep 60", timeout_s=1)


def test_an_app_is_not_given_without_asking_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="app is given without via_app"):
        Settings(app=tmp_path)
