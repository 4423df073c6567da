"""The table of records, and the files in which they are kept."""

import csv
import json
from pathlib import Path

import pytest
from device_records import make

from edge_vit.devices import results


def test_table_shows_intervals_ratio_and_what_is_not_counted() -> None:
    pair = [make("a.tflite", 5000), make("b.tflite", 25000, failure={"kind": "no space", "message": "full"})]
    pair[0].ratio = {"value": 0.5, "low": 0.49, "high": 0.51}
    shown = results.table([r.as_dict() for r in pair])
    assert "Google Pixel 7 (R5C)" in shown and "0.500 [0.490, 0.510]" in shown and "partial: no space" in shown
    assert "preprocessing is not counted" in shown and "25.05 [25.0" in shown
    assert "against first" in shown.splitlines()[0] and shown.splitlines()[0].count("output") == 0  # empty: left out


def test_results_gather_in_a_folder(tmp_path: Path) -> None:
    for level in (9000.0, 4000.0):
        results.append(tmp_path / "r", [make(f"m{level:.0f}.tflite", level).as_dict()])
    gathered = results.load(tmp_path / "r")
    assert [g["model"] for g in gathered] == ["m9000.tflite", "m4000.tflite"]
    assert len(gathered[0]["rounds"][0]["samples_us"]) == 200  # nothing is thrown away
    lines = (tmp_path / "r" / "results.md").read_text().splitlines()
    assert lines[2].startswith("| device |") and "m4000" in lines[4] and "m9000" in lines[5]
    (tmp_path / "r" / "results.jsonl").write_text("broken")
    with pytest.raises(ValueError, match=r"results.jsonl line 1 is not a record; repair or remove it"):
        results.load(tmp_path / "r")
    assert results.load(tmp_path / "none") == []


def test_csv_has_bare_numbers(tmp_path: Path) -> None:
    results.write_csv(tmp_path / "x.csv", [make().as_dict(), make(number=0, emulated=True).as_dict()])
    with open(tmp_path / "x.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert float(rows[0]["p50"]) == pytest.approx(5.05, abs=0.002) and rows[0]["device_model"] == "Google Pixel 7"
    assert rows[0]["complete"] == "True" and rows[1]["emulated"] == "True" and rows[1]["p50"] == ""


WHOLE = json.dumps(make().as_dict())


@pytest.mark.parametrize(
    "line", ["{}", "3", "[" * 100_000, '{"model": 1}', WHOLE.replace('"num_samples": 200, "un', '"un')]
)
def test_a_line_that_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(f"{WHOLE}\n{line}\n")
    for read in (results.load, lambda folder: results.append(folder, [])):
        with pytest.raises(ValueError, match=r"results\.jsonl line 2 is not a record; repair or remove it"):
            read(tmp_path)


def test_a_table_names_the_processor_of_a_time() -> None:
    cpu = {"cpu": "AMD EPYC (no AVX512, no VNNI)"}
    plains = [make(model, device=make().device | cpu).as_dict() for model in ("a.tflite", "b.tflite")]
    for shown in (results.table(plains), results.markdown(plains)):
        assert shown.count("R5C: AMD EPYC (no AVX512, no VNNI).") == 1


def test_a_table_says_how_a_ratio_came_by_its_interval() -> None:
    plain = make().as_dict()
    assert results.RATIOS not in results.table([plain])
    assert results.RATIOS in results.table([plain | {"ratio": {"value": 0.5, "low": None, "high": None}}])


def test_an_output_that_was_not_compared_is_shown() -> None:
    plain = make(output_sha256="ab" * 32, output_not_compared="qemu is gone").as_dict()
    assert results.describe_output(plain) == "not compared"


def test_files_appear_with_their_folders_and_leave_no_parts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.csv"
    results.check_writable([path])
    assert not list(tmp_path.iterdir())
    results.write_whole(path, "text")
    assert path.read_text() == "text" and [p.name for p in path.parent.iterdir()] == ["x.csv"]
    path.with_name("x.csv.part").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"cannot write .*x\.csv: No space left on device"):
        results.write_whole(path, "more")
    assert path.read_text() == "text" and [p.name for p in path.parent.iterdir()] == ["x.csv"]
