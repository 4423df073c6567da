"""Pixels take the form that the manifest asks for, and unknown files are refused."""

import dataclasses
import sys

import numpy as np
import pytest

from calibration.preprocess import Preprocess, normalise
from converters import manifest as m
from converters.artefact import Artefact, open_artefact, to_input

INFO = m.InputInfo(
    name="image", layout="NHWC", shape=(1, 4, 4, 3), dtype="uint8", value_range=(0.0, 255.0), color="RGB", resize=4,
    interpolation="bilinear", crop_pct=1.0, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25), normalization="inside",
)  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)


def test_pixels_pass_through():
    np.testing.assert_array_equal(to_input(IMAGES, INFO), IMAGES)


def test_signed_pixels_are_shifted():
    info = dataclasses.replace(INFO, dtype="int8", value_range=(-128.0, 127.0))
    inputs = to_input(IMAGES, info)
    assert inputs.dtype == np.int8
    np.testing.assert_array_equal(inputs.astype(int), IMAGES.astype(int) - 128)


def test_float_pixels_are_scaled():
    info = dataclasses.replace(INFO, dtype="float32", value_range=(0.0, 1.0), layout="NCHW", shape=(1, 3, 4, 4))
    inputs = to_input(IMAGES, info)
    assert inputs.dtype == np.float32 and inputs.shape == (3, 3, 4, 4) and inputs.flags.c_contiguous
    np.testing.assert_allclose(inputs, IMAGES.transpose(0, 3, 1, 2) / 255.0, atol=1e-6)


def test_normalised_by_the_caller_as_calibration_does_it():
    info = dataclasses.replace(INFO, dtype="float32", normalization="caller", layout="NCHW", shape=(1, 3, 4, 4))
    np.testing.assert_array_equal(to_input(IMAGES, info), normalise(IMAGES, Preprocess(**info.preprocess_fields())))


def artefact(batch: int) -> Artefact:
    made = m.Manifest(
        model="sum", precision="fp32", target="tflite", backend="none",
        weights=m.WeightsInfo(source="none", sha256=None),
        classes=(m.ClassLabel(id="a", name="a"), m.ClassLabel(id="b", name="b")),
        input=dataclasses.replace(INFO, shape=(batch, 4, 4, 3)),
        output=m.OutputInfo(name="logits", shape=(batch, 2), dtype="float32", kind="logits"),
        file=m.FileInfo(name="sum.tflite", num_bytes=1, sha256="0"),
        operators=m.OperatorsInfo(counts={}, quantize=0, dequantize=0, float_islands=()),
        delegated_nodes=None, total_nodes=1, verification=None, verification_reason="none", command="none",
    )  # fmt: skip
    return Artefact(made, lambda x: np.stack([x.sum((1, 2, 3)), x.max((1, 2, 3))], 1).astype(np.float64))


@pytest.mark.parametrize("batch, count", [(1, 3), (3, 3), (2, 3), (1, 0), (2, 0)])
def test_any_number_of_pictures_runs(batch, count):
    logits = artefact(batch).run(IMAGES[:count])
    assert logits.shape == (count, 2) and logits.dtype == np.float32
    np.testing.assert_array_equal(logits[:, 0], IMAGES[:count].astype(int).sum((1, 2, 3)))


def test_a_free_batch_takes_all_pictures_at_once():
    seen = []
    one = artefact(1)
    manifest = dataclasses.replace(one.manifest, input=dataclasses.replace(one.manifest.input, free_batch=True))
    free = Artefact(manifest, lambda x: seen.append(len(x)) or np.zeros((len(x), 2)))
    assert free.run(IMAGES).shape == (3, 2) and free.run(IMAGES.repeat(20, 0)).shape == (60, 2)
    assert seen == [3, 32, 28]


def test_wrong_pictures_are_refused():
    with pytest.raises(ValueError, match=r"images are float32 .*; sum\.tflite takes uint8 \(B, 4, 4, 3\)"):
        artefact(1).run(IMAGES.astype(np.float32))
    with pytest.raises(ValueError, match=r"images are uint8 \(3, 2, 4, 3\); sum\.tflite takes"):
        artefact(1).run(IMAGES[:, :2])


def test_unknown_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model\.engine: no runtime here runs '\.engine' files; known are .*\.tflite"):
        open_artefact(tmp_path / "model.engine")
    with pytest.raises(ValueError, match=r"model\.tflite: no such artefact"):
        open_artefact(tmp_path / "model.tflite")
    with pytest.raises(ValueError, match="threads 0 is not allowed"):
        open_artefact(tmp_path / "model.tflite", threads=0)


@pytest.mark.needs_tflite
def test_damaged_model_is_named(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    from converters.tflite.run import load

    (tmp_path / "bad.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(64))
    with pytest.raises(ValueError, match=r"bad\.tflite: LiteRT cannot load it"):
        load(tmp_path / "bad.tflite", 1)


def test_missing_runtime_names_the_extra(tmp_path, monkeypatch):
    from converters.tflite import run as run_tflite

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    with pytest.raises(ImportError, match=r"running \.tflite files needs LiteRT; pip install 'edge_vit\[tflite\]'"):
        run_tflite.load(tmp_path / "a.tflite", 1)
