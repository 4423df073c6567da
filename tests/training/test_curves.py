"""What a training shows at a glance."""

import csv
import xml.etree.ElementTree as ET

import pytest
import tiny_training as tiny

from edge_vit import train


def test_the_table_holds_every_epoch(finished):
    folder, records = finished
    rows = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for row, record in zip(rows, tiny.epochs(records), strict=True):
        assert {key: float(row[key]) for key in row} == {key: float(record[key]) for key in row}


def test_the_drawing_holds_every_point(finished):
    folder, records = finished
    root = ET.parse(folder / "curves.svg").getroot()
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"Loss", "Accuracy", "training", "held back", "judged, of the chosen epoch"} <= set(texts)
    lines = [element.attrib["points"].split() for element in root.iter() if element.tag.endswith("polyline")]
    assert [len(points) for points in lines] == [len(tiny.losses(records)), 3, 3, 3]


def test_tensorboard_reads_the_events(run, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    records = run(tmp_path / "run", "--epochs", 2, "--tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    steps = {event.step: event.value for event in events.Scalars("step/loss")}
    assert steps == pytest.approx(tiny.losses(records))
    top1 = [(event.step, event.value) for event in events.Scalars("epoch/select_top1")]
    assert top1 == [(r["epoch"], pytest.approx(r["select_top1"])) for r in tiny.epochs(records)]


def test_without_tensorboard_it_is_one_line(command, tmp_path, monkeypatch, capsys):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    assert train.main(command(tmp_path / "run", "--tensorboard")) == 2
    said = capsys.readouterr().err
    assert said == "error: --tensorboard needs TensorBoard; pip install 'edge_vit[tensorboard]'\n"
    assert not (tmp_path / "run").exists()
