"""TFLite Metadata: what it says, that files stay the same models with it, and what ML Kit demands of a file."""

import copy
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lowered import Lowered
from torch import nn

from converters.card import ModelCard
from converters.flatbuffer import Table
from converters.tflite.metadata import append_labels, make_metadata
from converters.tflite.reader import TFLiteModel, read_model
from converters.tflite.run import load

CARD = ModelCard(
    name="small",
    description="a test",
    version="0.1.0+12345678",
    author="who",
    license="which",
    labels=("ant", "bee", "Käfer 🪲", "dog", "eel"),
)


def texts(table: Table, *fields: int) -> list[str]:
    return [table.text(field) for field in fields]


def check(metadata: bytes) -> None:
    """Assert every field, by its number in metadata_schema.fbs."""
    assert metadata[4:8] == b"M001"
    model = Table.root(metadata)
    assert texts(model, 0, 1, 2, 4, 5, 7) == ["small", "a test", "0.1.0+12345678", "who", "which", "1.0.0"]
    (graph,) = model.tables(3)
    (image,), (output,) = graph.tables(2), graph.tables(3)
    assert image.text(0) == "pixels"
    content = image.table(3)
    assert content is not None and content.number(0, "B") == 2  # ImageProperties
    properties = content.table(1)
    assert properties is not None and properties.number(0, "B") == 1  # RGB
    (unit,) = image.tables(4)
    options = unit.table(1)
    assert unit.number(0, "B") == 1 and options is not None  # NormalizationOptions: pixels as they are
    assert options.numbers(0, "f") == (0.0,) and options.numbers(1, "f") == (1.0,)
    stats = image.table(5)
    assert stats is not None and stats.numbers(0, "f") == (255.0,) and stats.numbers(1, "f") == (0.0,)
    assert output.text(0) == "logits"
    assert output.tables(4) == []  # no score calibration
    (labels,) = output.tables(6)
    assert labels.text(0) == "labels.txt" and labels.number(2, "B") == 2  # TENSOR_AXIS_LABELS


def test_every_field() -> None:
    check(make_metadata(CARD, "pixels", ("logits",)))


def test_what_is_not_known_is_left_out() -> None:
    model = Table.root(make_metadata(ModelCard(), "pixels", ("logits",)))
    assert texts(model, 0, 1, 2, 4, 5) == [""] * 5
    (graph,) = model.tables(3)
    assert graph.tables(3)[0].tables(6) == []


@pytest.mark.parametrize("label", ["", "two\nlines", "\n"])
def test_a_label_is_one_line(label: str) -> None:
    with pytest.raises(ValueError, match=r"class 1 is named .*; a name is one line of text, rename the class"):
        ModelCard(labels=("ant", label))


def test_labels_follow_the_model_the_same_way_every_time(tmp_path: Path) -> None:
    data = append_labels(b"model" * 100, CARD.labels)
    assert data == append_labels(b"model" * 100, CARD.labels) and data.startswith(b"model" * 100)
    (tmp_path / "m").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "m") as archive:
        (info,) = archive.infolist()
        assert (info.filename, info.date_time, info.compress_type) == ("labels.txt", (1980, 1, 1, 0, 0, 0), 0)
        assert archive.read(info).decode() == "ant\nbee\nKäfer 🪲\ndog\neel\n"
    assert append_labels(b"model", ()) == b"model"


def metadata_of(path: Path) -> dict[str, bytes]:
    """Return a model's pieces of metadata by name."""
    root = Table.root(path.read_bytes())
    buffers = root.tables(4)
    return {entry.text(0): bytes(buffers[entry.number(1, "I")].data(0)) for entry in root.tables(6)}


def computed(model: TFLiteModel) -> list[Any]:
    """Return all that a runtime computes with."""
    tensors = [(t.name, t.dtype, t.shape, bytes(t.data), t.scales, t.zero_points, t.axis) for t in model.tensors]
    return [tensors, model.operators, model.inputs, model.outputs]


@pytest.fixture(scope="module", params=[False, True], ids=["float", "int8"])
def files(
    request: pytest.FixtureRequest, _small_models: tuple[nn.Module, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, np.ndarray]:
    """The same network with a card and without one, and its pictures."""
    model = Lowered.from_module(copy.deepcopy(_small_models[0]), 16)
    model = model.int8() if request.param else model
    folders = [tmp_path_factory.mktemp(name) for name in ("with", "without")]
    found = [model.to("tflite", f, card=c).result for f, c in zip(folders, (CARD, ModelCard()), strict=True)]
    assert found[0] is not None and found[1] is not None
    return found[0].path, found[1].path, model.pictures


@pytest.mark.needs_tflite
def test_the_file_carries_it_and_computes_the_same(files: tuple[Path, Path, np.ndarray]) -> None:
    path, plain, pictures = files
    found = metadata_of(path)
    check(found["TFLITE_METADATA"])
    assert found["min_runtime_version"].rstrip(b"\0")[:2] in (b"1.", b"2.")
    assert computed(read_model(path)) == computed(read_model(plain))
    runs = [load(p, 1) for p in (path, plain)]
    for picture in pictures:
        assert np.array_equal(runs[0](picture[None]), runs[1](picture[None]))


@pytest.mark.needs_tflite
def test_what_ml_kit_demands_of_a_custom_model(files: tuple[Path, Path, np.ndarray]) -> None:
    """The list in docs/formats.md, in its order."""
    path, _, _ = files
    model = read_model(path)
    (image,), (output,) = model.input_tensors, model.output_tensors  # one input, one output
    assert image.dtype in ("uint8", "float32")
    assert len(image.shape) == 4 and image.shape[0] == 1 and image.shape[3] == 3  # B x H x W x C
    assert output.shape in ((1, 5), (1, 1, 1, 5)) and output.dtype in ("uint8", "float32")
    (graph,) = Table.root(metadata_of(path)["TFLITE_METADATA"]).tables(3)
    assert len(graph.tables(2)[0].tables(4)) == 1  # NormalizationOptions, needed for float32 pixels alone
    with zipfile.ZipFile(path) as archive:
        name = graph.tables(3)[0].tables(6)[0].text(0)
        assert len(archive.read(name).decode().splitlines()) == output.shape[-1]
