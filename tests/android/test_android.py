"""Models get into the app's assets whole, and only those that it can run."""

import dataclasses
import json

import pytest

from converters import manifest as manifests
from edge_vit.deployment import android


@pytest.fixture
def app(tmp_path):
    (tmp_path / "demo" / "app" / "src" / "main").mkdir(parents=True)
    return tmp_path / "demo"


def test_artefact_and_manifest_are_put_in(app, make_model, capsys):
    model = make_model()
    assert android.main([str(model), "--into", str(app)]) == 0
    assets = app / "app/src/main/assets/models"
    assert sorted(path.name for path in assets.iterdir()) == ["demo_int8.pte", "demo_int8.pte.json"]
    assert (assets / "demo_int8.pte").read_bytes() == model.read_bytes()
    assert manifests.load_for(assets / "demo_int8.pte") == manifests.load_for(model)
    assert capsys.readouterr().out.startswith("models/demo_int8.pte: demo int8_ptq, 13,000 bytes, sha256 ")


def test_only_replaces_what_was_there(app, make_model, capsys):
    first, second = make_model("a.pte"), make_model("b.pte")
    assert android.main([str(first), "--into", str(app)]) == 0
    assert android.main([str(second), "--into", str(app)]) == 0
    assets = app / "app/src/main/assets/models"
    assert len(list(assets.iterdir())) == 4
    capsys.readouterr()
    assert android.main([str(second), "--into", str(app), "--only", "--json"]) == 0
    assert sorted(path.name for path in assets.iterdir()) == ["b.pte", "b.pte.json"]
    result = json.loads(capsys.readouterr().out)
    assert len(result["removed"]) == 4 and result["put"][0]["asset"] == "models/b.pte"


REFUSED = {
    "coreml": ({"target": "coreml"}, {}, "was made for coreml; the app runs executorch and tflite"),
    "batch": ({}, {"shape": (4, 32, 32, 3)}, "takes batches of 4; the app classifies one picture at a time"),
    "crop": ({}, {"resize": 16}, "wants pictures resized to 16 and cropped to 32 pixels; that cannot be"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_app_would_refuse_stays_out(kind, app, make_model, capsys):
    changes, input_changes, message = REFUSED[kind]
    model = make_model(changes=changes, **input_changes)
    assert android.main([str(model), "--into", str(app), "--only"]) == 1
    assert message in capsys.readouterr().err
    assert not (app / "app/src/main/assets").exists()


def test_integer_outputs_of_executorch_are_refused(app, make_model):
    output = manifests.OutputInfo(name="logits", shape=(1, 4), dtype="int8", kind="logits")
    model = make_model(changes={"output": output})
    with pytest.raises(ValueError, match="puts out int8; the app reads float32 from ExecuTorch"):
        android.check(model)
    assert android.check(make_model("a.tflite", changes={"output": output, "target": "tflite"}))


def test_a_changed_artefact_is_refused(app, make_model, capsys):
    model = make_model()
    model.write_bytes(b"other")
    assert android.main([str(model), "--into", str(app)]) == 1
    assert "not the file that" in capsys.readouterr().err


def test_another_folder_is_refused(make_model, tmp_path, capsys):
    assert android.main([str(make_model()), "--into", str(tmp_path)]) == 1
    assert "is not the app's project" in capsys.readouterr().err


def test_frozen_result():
    assert dataclasses.fields(android.PutModel) and android.AndroidConfig(artefacts=()).into.name == "android_demo"


def compiled(model, chip, content):
    """A file beside a model, as `convert --npu` leaves it there, and the manifest's entry."""
    path = model.with_name(f"{model.stem}_{chip.lower()}.tflite")
    path.write_bytes(content)
    return manifests.NpuFile(
        chip=chip, vendor="Qualcomm", file=manifests.describe_file(path), offloaded=1, total=1, partitions=1
    )


def test_files_for_one_chip_each_go_with_the_portable_one(app, make_model, capsys):
    model = make_model("a.tflite", changes={"target": "tflite"})
    manifest = dataclasses.replace(manifests.load_for(model), npu_files=(compiled(model, "SM8750", b"compiled"),))
    manifests.save(manifest, model)
    assert android.main([str(model), "--into", str(app)]) == 0
    assets = app / "app/src/main/assets/models"
    assert sorted(path.name for path in assets.iterdir()) == ["a.tflite", "a.tflite.json", "npu"]
    assert (assets / "npu" / "a_sm8750.tflite").read_bytes() == b"compiled"
    capsys.readouterr()
    model.with_name("a_sm8750.tflite").write_bytes(b"compilef")
    assert android.main([str(model), "--into", str(app)]) == 1
    assert "a_sm8750.tflite is not the file that was compiled for SM8750; convert again" in capsys.readouterr().err
    model.with_name("a_sm8750.tflite").unlink()
    assert android.main([str(model), "--into", str(app)]) == 1
    assert "compiled for SM8750, is not beside a.tflite; convert again" in capsys.readouterr().err
    assert (assets / "npu" / "a_sm8750.tflite").read_bytes() == b"compiled"
