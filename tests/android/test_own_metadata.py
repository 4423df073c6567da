"""A .tflite without its manifest: the app reads what the file says of itself."""

import hashlib

import numpy as np
import pytest
import small_tflite

from converters.card import ModelCard
from converters.tflite.metadata import NAME, append_labels, make_metadata

pytestmark = pytest.mark.needs_tflite
LABELS = ("tench", "church", "golf ball", "Brücke")


@pytest.fixture(scope="module")
def build():
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

    def build(*, shape=(1, 2, 2, 3), dtype="uint8", kind="DEQUANTIZE", metadata=True, labels=LABELS):
        """Return a model of one operator, from pixels to four values; no runtime looks at it."""
        value = small_tflite.T(shape, dtype, grid=(1.0, 0))
        tensors = {"pixels": value, "logits": small_tflite.T((1, 4), "float32")}
        flat = small_tflite.build(tensors, [(kind, ["pixels"], ["logits"], None)])
        if not metadata:
            return flat
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flat, 0))
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = np.frombuffer(make_metadata(ModelCard(labels=labels), "pixels", ("logits",)), np.uint8)
        entry.name, entry.buffer = NAME.encode(), len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [entry]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return append_labels(bytes(builder.Output()), labels)

    return build


@pytest.fixture
def read(ask, tmp_path):
    def read(data):
        (tmp_path / "mine.tflite").write_bytes(data)
        return ask(
            {"do": "manifest", "folder": str(tmp_path), "model": "mine.tflite", "target": "tflite", "is_whole": True}
        )[0]

    return read


def test_classes_and_shapes_are_its_own(build, read):
    data = build()
    assert read(data) == {
        "title": "mine fp32", "labels": list(LABELS), "side": 2, "dtype": "uint8", "is_normalized_inside": True,
        "gives_probabilities": False, "sha256": hashlib.sha256(data).hexdigest(), "resize": 2,
        "interpolation": "bicubic", "value_range": [0.0, 255.0], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
    }  # fmt: skip


def test_a_softmax_at_the_end_gives_probabilities(build, read):
    assert read(build(kind="SOFTMAX"))["gives_probabilities"]


def test_without_metadata_the_manifest_is_missing(build, read):
    found = read(build(metadata=False))["error"]
    assert found.startswith("mine.tflite: its manifest mine.tflite.json is missing; convert again")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": "float32"}, "takes float32, and how pixels become such it does not say; keep its manifest with it"),
        ({"labels": LABELS[:3]}, "3 classes for an output of 4 values"),
        ({"labels": ()}, "it names no classes"),
    ],
)
def test_what_it_does_not_say_is_told(change, message, build, read):
    assert read(build(**change))["error"] == f"mine.tflite, by its own metadata: {message}"


def test_a_picture_that_is_no_square_is_refused(build, read):
    assert "is no square NHWC picture" in read(build(shape=(1, 1, 2, 3)))["error"]


def test_a_cut_file_is_told(build, read):
    data = build()
    at = data.index(NAME.encode()) + len(NAME) + 1
    found = [read(data[:cut])["error"] for cut in (at, at + 40)]
    assert all("cut short or damaged" in one or "it names no classes" in one for one in found), found
