"""Records are found by the checksum of the measured file, in whatever bench_arm left them."""

import json

import device_records
import pytest
from reports_pages import counts

from edge_vit.findings.bench import counts as shown_counts
from edge_vit.findings.bench import latency
from edge_vit.findings.records import load_records

SHA = "ab" * 32


@pytest.fixture
def instruction(tmp_path):
    model = tmp_path / "m.tflite"
    model.write_bytes(b"x")
    return counts(model)[0] | {"model_sha256": SHA}


def test_a_file_of_json_and_a_results_folder_give_the_same(tmp_path, instruction):
    time = device_records.make().as_dict()
    other = device_records.make("other.tflite", model_sha256="cd" * 32).as_dict()
    (tmp_path / "a.json").write_text(json.dumps([time, other, instruction]))
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "results.jsonl").write_text("".join(json.dumps(p) + "\n" for p in (time, other)))
    (folder / "instructions.jsonl").write_text(json.dumps(instruction) + "\n")
    first, second = (load_records([path], [SHA]) for path in (tmp_path / "a.json", folder))
    assert first == second and first.others == ("other.tflite",)
    assert len(first.latencies) == len(first.instructions) == 1
    assert load_records([tmp_path / "a.json", folder], [SHA]) == first, "what is there twice counts once"
    assert load_records([folder / "results.jsonl"], [SHA]).instructions == ()
    assert first.of("cd" * 32).latencies == ()


def test_the_newest_count_of_a_core_stands(tmp_path, instruction):
    (tmp_path / "a.json").write_text(json.dumps([instruction, instruction | {"instructions": 7}]))
    (found,) = load_records([tmp_path / "a.json"], [SHA]).instructions
    assert found["instructions"] == 7


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.json", None, "no such file of records"),
        ("text.json", "hello", "no records; give what bench_arm --json printed"),
        ("deep.json", "[" * 100_000, "no records; give what bench_arm --json printed"),
        ("object.json", "{}", "no records; give what bench_arm --json printed"),
        ("odd.json", '[{"model_sha256": "x"}]', "no records; give what bench_arm --json printed"),
        ("odd.jsonl", '{"model_sha256": 3}\n', "line 1 is not a record"),
    ],
)
def test_other_files_are_refused(name, content, said, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        load_records([tmp_path / name], [SHA])


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds neither results\.jsonl nor instructions\.jsonl"):
        load_records([tmp_path], [SHA])


def test_a_histogram_counts_every_inference():
    record = device_records.make(number=400).as_dict()
    shown = latency(record)
    assert sum(shown["histogram"]["counts"]) + shown["histogram"]["left_out"] == 400
    assert shown["row"]["model"] == "m.tflite" and shown["figures"] == record["figures"]


def test_an_emulated_device_has_no_times():
    assert latency(device_records.make(emulated=True).as_dict())["histogram"] is None


def test_instructions_are_grouped_by_kernel(instruction):
    shown = shown_counts(instruction)
    assert [o["kind"] for o in shown["operators"]] == ["FULLY_CONNECTED", "MEAN", "CAST"]
    assert (
        sum(o["instructions"] for o in shown["operators"]) + shown["between_operators"] == instruction["instructions"]
    )
    assert shown_counts({k: v for k, v in instruction.items() if k != "operators"})["operators"] == []
