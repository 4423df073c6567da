"""A manifest survives the way to disk and back, and every damage is one clear line."""

import dataclasses
import json
import math
import os

import pytest

from converters import manifest as m


def make(artefact_file: m.FileInfo | None = None, **changes) -> m.Manifest:
    complete = m.Manifest(
        model="levit_128s",
        precision="int8_qat",
        target="tflite",
        backend="xnnpack arm",
        weights=m.WeightsInfo(source="levit_128s.safetensors", sha256="0" * 64),
        classes=(m.ClassLabel(id="n01440764", name="tench"), m.ClassLabel(id="n03445777", name="golf ball")),
        input=m.InputInfo(
            name="image", layout="NHWC", shape=(1, 160, 160, 3), dtype="uint8", value_range=(0.0, 255.0), color="RGB",
            resize=160, interpolation="bicubic", crop_pct=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
            normalization="inside",
        ),
        output=m.OutputInfo(name="logits", shape=(1, 2), dtype="float32", kind="logits"),
        file=artefact_file or m.FileInfo(name="levit_128s_int8.tflite", num_bytes=3, sha256="1" * 64),
        operators=m.OperatorsInfo(
            counts={"CONV_2D": {"int8": 4}, "SOFTMAX": {"float32": 9}}, quantize=10, dequantize=9,
            float_islands=("SOFTMAX in blocks.0",),
        ),
        delegated_nodes=None,
        total_nodes=13,
        verification=m.Verification(sqnr_db=31.5, top1_agreement=0.98, num_images=64, data="calibration pictures"),
        quantization={"method": "qat", "bits": {"weights": 8}},
        tool_versions={"torch": "2.13.0"},
        command="python -m edge_vit.convert levit_128s --target tflite --int8",
    )  # fmt: skip
    return dataclasses.replace(complete, **changes)


@pytest.fixture
def artefact(tmp_path):
    path = tmp_path / "levit_128s_int8.tflite"
    path.write_bytes(b"abc")
    m.save(make(m.describe_file(path)), path)
    return path


def edited(**changes) -> str:
    """The manifest's JSON with fields replaced by dotted name; the value `del` removes one."""
    data = json.loads(make().to_json())
    for name, value in changes.items():
        *parents, last = name.split("__")
        at = data
        for parent in parents:
            at = at[parent]
        if value is del_:
            del at[last]
        else:
            at[last] = value
    return json.dumps(data)


del_ = object()


def test_round_trip_is_equal():
    assert m.Manifest.from_json(make().to_json()) == make()
    unverified = make(verification=None, verification_reason="Core ML cannot run here")
    assert m.Manifest.from_json(unverified.to_json()) == unverified


def test_whole_numbers_are_numbers():
    assert m.Manifest.from_json(edited(input__crop_pct=1)).input.crop_pct == 1.0


def test_saved_manifest_is_found_and_checked(artefact):
    loaded = m.load_for(artefact)
    assert loaded.file == m.FileInfo(
        name="levit_128s_int8.tflite",
        num_bytes=3,
        sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    )
    names = sorted(p.name for p in artefact.parent.iterdir())
    assert names == ["levit_128s_int8.tflite", "levit_128s_int8.tflite.json"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not valid JSON"),
        (edited(operators__quantize=math.nan), "not valid JSON .*NaN is no number"),
        ("[]", r"the manifest is \[\]; expected an object"),
        (edited(schema_version=2), "schema_version 2 is unknown here; this version reads 1"),
        (edited(schema_version="1"), "schema_version '1' is unknown here"),
        (edited(colour="red"), "unknown field colour; known are backend, classes"),
        (edited(input__gamma=2.2), r"unknown field input\.gamma"),
        (edited(model=del_), "field model is missing"),
        (edited(schema_version=del_), "field schema_version is missing"),
        (edited(weights__sha256=del_), r"field weights\.sha256 is missing"),
        (edited(model=3), "model is 3; expected a text"),
        (edited(total_nodes=1.5), r"total_nodes is 1\.5; expected a whole number"),
        (edited(total_nodes=True), "total_nodes is true; expected a whole number"),
        (edited(precision="int4"), "precision is 'int4'; allowed are fp32, fp16, int8_ptq, int8_qat"),
        (edited(input__mean=[0.5, 0.5]), r"input\.mean has 2 values; expected 3"),
        (edited(input__mean=[0.5, "0.5", 0.5]), r'input\.mean\[1\] is "0\.5"; expected a number'),
        (edited(classes={}), r"classes is \{\}; expected a list"),
        (edited(classes=[{"id": "n1"}, {"id": "n2", "name": "b"}]), r"field classes\[0\]\.name is missing"),
        (edited(operators__counts=[]), r"operators\.counts is \[\]; expected an object"),
        (edited(operators__counts={"ADD": {"int8": "2"}}), r'operators\.counts\.ADD\.int8 is "2"; expected a whole'),
        (edited(verification=None), "verification_reason must say why verification is null"),
        (edited(verification_reason="none"), "verification_reason must say why verification is null, and only then"),
        (edited(classes=[]), r"0 classes for an output of shape \[1, 2\]"),
        (edited(input__shape=[1, 3, 160, 160]), r"input\.shape \[1, 3, 160, 160\] is no NHWC picture"),
    ],
)
def test_damage_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        m.Manifest.from_json(text)


def test_channels_first_is_a_layout():
    nchw = dataclasses.replace(make().input, layout="NCHW", shape=(1, 3, 96, 96))
    assert (nchw.height, nchw.width) == (96, 96)


def test_file_errors_name_the_file(artefact, tmp_path):
    path = m.manifest_path(artefact)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"levit_128s_int8\.tflite\.json: not valid JSON"):
        m.load_for(artefact)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"levit_128s_int8\.tflite\.json: .*decode"):
        m.load(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"its manifest levit_128s_int8\.tflite\.json is missing; convert again"):
        m.load_for(artefact)
    with pytest.raises(ValueError, match=r"levit_128s_int8\.tflite\.json: no such manifest"):
        m.load(path)
    with pytest.raises(ValueError, match=r"gone\.tflite: no such artefact"):
        m.load_for(tmp_path / "gone.tflite")
    path.mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        m.load(path)


def test_changed_artefact_is_refused(artefact):
    artefact.write_bytes(b"abd")
    with pytest.raises(ValueError, match=r"not the file that levit_128s_int8\.tflite\.json describes \(sha256"):
        m.load_for(artefact)


def test_manifest_of_another_target_is_refused(artefact):
    other = artefact.with_suffix(".pte")
    other.write_bytes(b"abc")
    m.manifest_path(artefact).rename(m.manifest_path(other))
    with pytest.raises(ValueError, match=r"describes levit_128s_int8\.tflite, not levit_128s_int8\.pte; keep"):
        m.load_for(other)


def test_failed_write_leaves_the_old_manifest(artefact):
    before = m.manifest_path(artefact).read_bytes()
    broken = make(verification=m.Verification(sqnr_db=math.nan, top1_agreement=1.0, num_images=1, data="one"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        m.save(broken, artefact)
    assert m.manifest_path(artefact).read_bytes() == before
    assert len(list(artefact.parent.iterdir())) == 2


def test_checksum_of_a_folder_sees_names_and_bytes(tmp_path):
    package = tmp_path / "model.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weights").write_bytes(b"1234")
    (package / "Manifest.json").write_bytes(b"{}")
    first = m.describe_file(package)
    assert first.num_bytes == 6
    os.rename(package / "Data" / "weights", package / "Data" / "weight")
    assert m.sha256_file(package) != first.sha256
    os.rename(package / "Data" / "weight", package / "Data" / "weights")
    assert m.describe_file(package) == first
    (package / "Data" / "weights").write_bytes(b"1235")
    assert m.sha256_file(package) != first.sha256


@pytest.mark.parametrize(("found", "stored"), [(math.inf, 200.0), (-math.inf, -200.0), (20.5, 20.5)])
def test_decibels_that_json_can_hold(found, stored):
    assert m.storable_db(found) == stored
    assert math.isnan(m.storable_db(math.nan)), "no number is no agreement"
