"""The gate on pictures whose flips are known: one-colour pictures and classifiers of the mean colour."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from converters import manifest as m
from converters.artefact import open_artefact
from edge_vit import accuracy, api, classify
from edge_vit.evaluation.comparison import AccuracyConfig, find_reference, load_reference

pytestmark = pytest.mark.needs_tflite

IDS = ("blue", "red")
SIDE = 8
WEIGHTS = [[0.0, 0.0, 0.1], [0.1, 0.0, 0.0]]


@pytest.fixture
def artefacts(write_artefact):
    """Float says red where red > blue; the other one wants 10 more red than blue."""
    return {
        "float": write_artefact("float.tflite", WEIGHTS, [0.0, 0.0], IDS),
        "shifted": write_artefact("shifted.tflite", WEIGHTS, [1.0, 0.0], IDS, "int8_ptq"),
    }


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def fill(data, name, red, blue, count):
    """Add pictures of one colour to a class folder."""
    folder = data / name
    folder.mkdir(parents=True, exist_ok=True)
    start = len(list(folder.iterdir()))
    for i in range(count):
        Image.new("RGB", (SIDE, SIDE), (red, 0, blue)).save(folder / f"{start + i:04}.png")


def command(artefacts, data, *more) -> list[str]:
    return [str(artefacts["shifted"]), "--data", str(data), "--float", str(artefacts["float"]), *more]


def test_known_flips_are_counted(artefacts, data, capsys):
    fill(data, "red", 200, 10, 30)  # Right in both.
    fill(data, "red", 105, 100, 6)  # Lost: 5 more red is not enough for the shifted one.
    fill(data, "blue", 10, 200, 20)
    fill(data, "blue", 104, 100, 4)  # Won: float calls these red.
    assert accuracy.main(command(artefacts, data, "--json")) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["overall"]["num_images"] == 60
    assert (result["overall"]["losses"], result["overall"]["gains"]) == (6, 4)
    assert result["overall"]["drop_points"] == pytest.approx(100 * 2 / 60)
    assert result["overall"]["float_top1"] == pytest.approx(100 * 56 / 60)
    assert result["overall"]["agreement"] == pytest.approx(50 / 60)
    # Every bias of blue is one logit higher: red loses a margin of 1, blue wins it.
    assert result["overall"]["margin_change"] == pytest.approx((24 - 36) / 60, abs=1e-4)
    assert [entry["id"] for entry in result["classes"]] == ["blue", "red"]
    assert result["classes"][1] == {
        "id": "red", "name": "the red one", "num_images": 36, "losses": 6, "gains": 0,
        "float_top1": 100.0, "artefact_top1": pytest.approx(100 * 30 / 36),
    }  # fmt: skip
    assert result["verdict"] is None and result["skipped"] == []
    assert "warning" not in err


@pytest.mark.parametrize(("kind", "float_kind"), [("probabilities", "logits"), ("logits", "probabilities")])
def test_logits_and_probabilities_are_compared_as_probabilities(kind, float_kind, write_artefact, data, capsys):
    """Both files compute the same: nothing but rounding may be between them, and the margin is one of shares."""
    fill(data, "red", 110, 100, 3)
    fill(data, "blue", 100, 120, 3)
    artefact = write_artefact("a.tflite", WEIGHTS, [0.0, 0.0], IDS, "int8_ptq", kind)
    reference = write_artefact("f.tflite", WEIGHTS, [0.0, 0.0], IDS, "fp32", float_kind)
    words = [str(artefact), "--data", str(data), "--float", str(reference)]
    assert accuracy.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["compared"] == "probabilities" and result["overall"]["sqnr_db"] > 100
    red, blue = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))
    assert result["overall"]["float_margin"] == pytest.approx(red + blue - 1, abs=1e-4)
    assert accuracy.main(words) == 0
    assert "  probabilities " in capsys.readouterr().out


def test_over_the_limit_fails(artefacts, data, capsys):
    fill(data, "red", 105, 100, 5)
    fill(data, "blue", 10, 200, 5)
    assert accuracy.main(command(artefacts, data, "--max-drop", "0.5")) == 1
    assert "over_limit: the drop of 50.00 points is over the limit of 0.5" in capsys.readouterr().out


def test_too_few_pictures_fail(artefacts, data, capsys):
    fill(data, "red", 200, 10, 25)
    fill(data, "blue", 10, 200, 25)
    assert accuracy.main(command(artefacts, data, "--max-drop", "0.5")) == 1
    assert "too_few_images: too few images to tell: 50 cannot" in capsys.readouterr().out
    assert accuracy.main(command(artefacts, data, "--max-drop", "5")) == 0
    assert "pass: the drop of 0.00 points is within 5" in capsys.readouterr().out


def test_equal_models_are_valid_json(artefacts, data, capsys):
    fill(data, "red", 200, 10, 2)
    artefacts["shifted"] = artefacts["float"]
    assert accuracy.main(command(artefacts, data, "--json")) == 0
    overall = json.loads(capsys.readouterr().out)["overall"]
    assert overall["sqnr_db"] == m.MAX_SQNR_DB and overall["agreement"] == 1.0


def test_limit_is_balanced_and_subset_of_classes_is_fine(artefacts, data):
    fill(data, "red", 200, 10, 8)
    result = api.evaluate(
        AccuracyConfig(artefact=artefacts["shifted"], data=data, float_artefact=artefacts["float"], limit=3)
    )
    assert result.overall.num_images == 3 and [entry.id for entry in result.classes] == ["red"]
    fill(data, "blue", 10, 200, 2)
    result = api.evaluate(
        AccuracyConfig(artefact=artefacts["shifted"], data=data, float_artefact=artefacts["float"], limit=4)
    )
    assert [entry.num_images for entry in result.classes] == [2, 2]


def test_skipped_pictures_are_named(artefacts, data, capsys):
    fill(data, "red", 200, 10, 3)
    (data / "red" / "bad.png").write_bytes(b"no picture")
    assert accuracy.main(command(artefacts, data, "--json")) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["overall"]["num_images"] == 3
    assert json.loads(out)["skipped"][0]["path"].endswith("bad.png")
    assert "warning: skipped 1 unreadable picture\n" in err and "bad.png: not a readable picture" in err


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda a, d: ["--max-drop", "0"], "max-drop 0 is not allowed"),
        (lambda a, d: ["--limit", "0"], "0 pictures are not allowed"),
        (lambda a, d: ["--threads", "0"], "threads 0 is not allowed"),
        (lambda a, d: fill(d, "green", 0, 0, 1) or [], "no class for folder green"),
        (lambda a, d: a["shifted"].write_bytes(b"x") and [], "not the file that shifted.tflite.json describes"),
        (lambda a, d: a["float"].unlink() or [], "float.tflite: no such artefact"),
        (lambda a, d: ["--float", str(a["shifted"])], "is int8_ptq, not a float (fp32) artefact"),
    ],
)
def test_misuse_is_one_line_and_code_2(artefacts, data, capsys, damage, message):
    fill(data, "red", 200, 10, 1)
    assert accuracy.main(command(artefacts, data, *damage(artefacts, data))) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and message in err


EDITED = {  # what somebody changed in a manifest, and what is said
    "a class less": (
        lambda t: (t["classes"].pop(), t["output"].update(shape=[1, 1])),
        "shifted.tflite gives 2 numbers, its manifest 1; convert again",
    ),
    "a class more": (
        lambda t: (t["classes"].append({"id": "x", "name": "x"}), t["output"].update(shape=[1, 3])),
        "shifted.tflite gives 2 numbers, its manifest 3; convert again",
    ),
    "another size": (
        lambda t: t["input"].update(shape=[1, 16, 16, 3], resize=16),
        "shifted.tflite does not take what its manifest says: ",
    ),
    "another type": (
        lambda t: t["input"].update(dtype="float32"),
        "shifted.tflite does not take what its manifest says: ",
    ),
}


@pytest.mark.parametrize("kind", EDITED)
def test_an_edited_manifest_names_the_file(kind, artefacts, tmp_path, capsys):
    edit, message = EDITED[kind]
    path = m.manifest_path(artefacts["shifted"])
    text = json.loads(path.read_text())
    edit(text)
    path.write_text(json.dumps(text))
    picture = tmp_path / "a.png"
    Image.new("RGB", (SIDE, SIDE), (200, 0, 0)).save(picture)
    assert classify.main([str(artefacts["shifted"]), str(picture)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and err.count("\n") == 1


def test_float_artefact_must_fit(artefacts, data, write_artefact, capsys):
    fill(data, "red", 200, 10, 1)
    artefacts["float"] = write_artefact("other.tflite", WEIGHTS, [0.0, 0.0], ("red", "blue"))
    assert accuracy.main(command(artefacts, data)) == 2
    assert "other.tflite: has other classes than" in capsys.readouterr().err
    path = m.manifest_path(artefacts["float"])
    path.write_text(m.manifest_path(artefacts["shifted"]).read_text().replace("int8_ptq", "fp32"))
    text = json.loads(path.read_text())
    text["file"]["name"], text["input"]["interpolation"] = "other.tflite", "bicubic"
    text["file"]["num_bytes"], text["file"]["sha256"] = (
        m.describe_file(artefacts["float"]).num_bytes,
        m.sha256_file(artefacts["float"]),
    )
    path.write_text(json.dumps(text))
    assert accuracy.main(command(artefacts, data)) == 2
    assert "other.tflite: prepares pictures otherwise than" in capsys.readouterr().err


def test_missing_weights_point_to_the_option(artefacts, data, capsys):
    fill(data, "red", 200, 10, 1)
    assert accuracy.main([str(artefacts["shifted"]), "--data", str(data)]) == 2
    err = capsys.readouterr().err
    assert "the float weights written by hand are not here; give a float artefact with --float" in err


def test_float_reference_is_the_torch_model(artefacts, tmp_path):
    import torch

    from calibration.preprocess import Preprocess, normalise
    from edge_vit.models import create_model
    from edge_vit.models.checkpoint_io import write_checkpoint

    model = create_model("levit_128s", num_classes=2, resolution=64).eval()
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, model.state_dict(), {"model": "levit_128s"})
    made = m.load_for(artefacts["float"])
    settings = Preprocess(resolution=64)
    info = dataclasses.replace(
        made.input, shape=(1, 64, 64, 3), interpolation="bicubic", mean=settings.mean, std=settings.std
    )
    weights = m.WeightsInfo(source=str(path), sha256=m.sha256_file(path))
    made = dataclasses.replace(made, model="levit_128s", input=info, weights=weights)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model(torch.from_numpy(normalise(images, settings))).numpy()
    reference = load_reference(made, find_reference(made, tmp_path))
    np.testing.assert_allclose(reference(images), expected, atol=2e-3 * np.abs(expected).max())  # Stored as halves.
    write_checkpoint(path, model.state_dict(), {"model": "levit_128s", "other": True})
    with pytest.raises(ValueError, match=r"weights\.safetensors is not the file that was converted \(sha256 differs\)"):
        find_reference(made, tmp_path)


def test_pictures_reach_the_runtime_unchanged(artefacts):
    images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    logits = open_artefact(artefacts["float"]).run(images)
    expected = images.astype(np.float64).mean((1, 2)) @ np.array(WEIGHTS).T
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    assert logits.dtype == np.float32 and logits.shape == (5, 2)


def test_a_list_is_judged_as_its_folder_is(artefacts, data, capsys):
    fill(data, "red", 200, 10, 2)
    fill(data, "blue", 10, 200, 2)
    command_ = command(artefacts, data, "--json")
    accuracy.main(command_)
    whole = json.loads(capsys.readouterr().out)
    names = [f"{path},{path.parent.name},val" for path in sorted(data.glob("*/*.png"))]
    names += [names[0].replace(",red", ",blue").replace("val", "train")]
    path = data / "list.csv"
    path.write_text("\n".join(["path,label,split", *names]))
    accuracy.main([str(path) if word == str(data) else word for word in command_])
    listed = json.loads(capsys.readouterr().out)
    assert listed["overall"] == whole["overall"] and listed["classes"] == whole["classes"]
