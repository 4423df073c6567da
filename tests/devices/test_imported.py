"""Records of phones elsewhere: read from what a farm gave back, joined, and summed up by system on chip."""

import json
from pathlib import Path

import device_records
import pytest

from edge_vit import bench_arm
from edge_vit.devices import imported, results

TENSOR = {"model": "Google Pixel 7", "soc": "Google Tensor G2", "system": "Android 15", "fingerprint": "panther"}
OLD = {"model": "Moto G7", "soc": "Qualcomm SDM632", "system": "Android 10", "fingerprint": "river"}
OTHER = TENSOR | {"model": "Google Pixel 7a", "fingerprint": "lynx"}


def record(device, level_us, **change) -> dict:
    runner = {"name": "android_demo LiteRT", "version": "2.3.2", "sha256": None, "accelerator": "CPU"}
    made = device_records.make("m.tflite", level_us, device=device, device_name="app", runner=runner, **change)
    return made.as_dict()


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """What a farm gave back: three phones in folders of their own, one of them twice, and files that are the farm's."""
    folder = tmp_path / "farm"
    for place, plain in (
        ("pixel/sdcard/bench/a.json", record(TENSOR, 4000)),
        ("pixel_again/sdcard/bench/a.json", record(TENSOR, 4000)),
        ("pixel/sdcard/bench/b.json", record(TENSOR, 4400, started="2026-01-02T00:00:00+00:00")),
        ("moto/artifacts/a.json", record(OLD, 21000)),
        ("lynx/artifacts/a.json", record(OTHER, 5000)),
    ):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain))
    (folder / "test_result.json").write_text('{"outcome": "passed", "steps": 3}')
    return folder


def test_three_phones_by_system_on_chip_worst_first(farm: Path) -> None:
    plains, failures = imported.read(farm)
    assert len(plains) == 4 and not failures  # the copy counts once
    slow, fast = imported.summarise(plains)
    assert (slow.soc, slow.phones, slow.worst_phone) == ("Qualcomm SDM632", 1, "Moto G7")
    assert (fast.soc, fast.phones, fast.worst_phone) == ("Google Tensor G2", 2, "Google Pixel 7a")
    # A phone that measured twice has one voice: 4.25 of its 4.05 and 4.45, against the other's 5.05.
    assert fast.median_ms == pytest.approx((4.25 + 5.05) / 2, abs=0.01) and fast.worst_ms == pytest.approx(
        5.05, abs=0.01
    )


def test_figures_are_derived_here(farm: Path) -> None:
    path = farm / "moto/artifacts/a.json"
    plain = json.loads(path.read_text())
    figures = plain.pop("figures")
    path.write_text(
        json.dumps(plain | {"figures": {"num_samples": 200, "marks": []}})
    )  # as the app leaves intervals out
    (made,) = [one for one in imported.read(farm)[0] if one["device"]["model"] == "Moto G7"]
    assert made["figures"] == figures and made["figures"]["p50_interval"]


def test_the_command_shows_and_keeps_them(farm: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert (
        bench_arm.main(["--import", str(farm), "--results", str(tmp_path / "r"), "--csv", str(tmp_path / "a.csv")]) == 0
    )
    out = capsys.readouterr().out
    summary = out[out.index("By system on chip, worst first:") :].splitlines()
    assert [line.split()[0] for line in summary[3:]] == ["Qualcomm", "Google"]
    assert len(results.load(tmp_path / "r")) == 4 and "Moto G7 (app)" in (tmp_path / "r/results.md").read_text()
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 5


def test_what_is_damaged_or_failed_is_told(farm: Path, capsys: pytest.CaptureFixture) -> None:
    (farm / "moto/artifacts/a.json").write_text('{"model": "m.tflite", "rounds": [')
    (farm / "lynx/artifacts/a.json").write_text('{"error": "m.tflite: its manifest is missing"}')
    (farm / "lynx/artifacts/b.json").write_text(json.dumps(record(OTHER, 5000) | {"rounds": 3}))
    assert bench_arm.main(["--import", str(farm)]) == 1
    said = capsys.readouterr().err
    assert "error: moto/artifacts/a.json: cut short or damaged" in said
    assert "error: lynx/artifacts/a.json: the app could not measure: m.tflite: its manifest is missing" in said
    assert "error: lynx/artifacts/b.json: made by another version (" in said


def test_emulated_and_empty_records_are_in_no_summary() -> None:
    assert imported.summarise([record(TENSOR, 4000, emulated=True), record(TENSOR, 4000, number=0)]) == []


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--import", "{farm}", "m.tflite"], 2, "--import measures nothing; leave models and devices out"),
        (["--import", "{farm}", "--plot", "a.svg"], 2, "with --import take --csv or --results"),
        (["--import", "{farm}/gone"], 2, "gone; give the one that holds the records"),
        (["--import", "{farm}/empty"], 1, "no record below"),
    ],
)
def test_misuse(words: list[str], code: int, message: str, farm: Path, capsys: pytest.CaptureFixture) -> None:
    (farm / "empty").mkdir()
    assert bench_arm.main([word.format(farm=farm) for word in words]) == code
    assert message in capsys.readouterr().err


def test_without_models_there_must_be_a_folder(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        bench_arm.main([])
    assert caught.value.code == 2 and "the following arguments are required: MODEL" in capsys.readouterr().err
