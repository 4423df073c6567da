"""A network of the user's own through convert and accuracy, as a user runs them."""

import json
import shutil
from pathlib import Path

import pytest

from edge_vit import accuracy, convert

FILE = Path(__file__).parent.parent / "users_networks.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of two classes that were drawn, and the network's file."""
    from PIL import Image

    from edge_vit.evaluation.drawing import SUBJECTS, draw

    folder = tmp_path_factory.mktemp("own")
    shutil.copy(FILE, folder / "net.py")
    for label, subject in enumerate(SUBJECTS[:2]):
        (folder / "pictures" / f"{label}").mkdir(parents=True)
        for i in range(20):
            picture: Image.Image = draw(subject).crop((i, i, 200 + 5 * i, 220 + i))
            picture.resize((40, 40)).save(folder / "pictures" / f"{label}" / f"{i}.png")
    return folder


@pytest.mark.slow
def test_int8_from_pictures_and_its_accuracy(folder, capsys):
    made = ["--resolution", "32", "--int8", "--calib", str(folder / "pictures"), "--output-dir", str(folder / "out")]
    assert convert.main([f"{folder}/net.py:small", "--target", "tflite", "--calib-images", "8", *made]) == 0
    said = capsys.readouterr()
    assert "pictures: 32 x 32, crop 1, bicubic, mean 0.485/0.456/0.406" in said.err
    assert "slow path      0" in said.out
    manifest = json.loads((folder / "out" / "small_int8.tflite.json").read_text())
    assert manifest["network"]["source"] == f"{folder}/net.py:small" and manifest["model"] == "small"
    int8 = sum(counts.get("int8", 0) for counts in manifest["operators"]["counts"].values())
    assert int8 >= 35 and manifest["verification"]["sqnr_db"] > 25
    check = [str(folder / "out" / "small_int8.tflite"), "--data", str(folder / "pictures")]
    assert accuracy.main(check) == 0
    assert "on 40 pictures" in capsys.readouterr().out
    with (folder / "net.py").open("a") as file:
        file.write("# edited\n")
    assert accuracy.main(check) == 2
    assert "is not what was converted (sha256 of its file differs)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.py", "--target", "tflite"], "write net.py:FUNCTION"),
        ([f"{FILE}:small", "--target", "tflite", "--features"], "has none, leave it out"),
        ([f"{FILE}:small", "--target", "tflite", "--weights", "imagenet"], "is for variants"),
        ([f"{FILE}:small", "--target", "tflite", "--int8"], "--calib"),
        (["levit_128s", "--target", "tflite", "--mean", "0.5"], "--mean is for a network of your own"),
        ([f"{FILE}:deciding", "--target", "tflite"], "decide by shapes, or write torch.where"),
        ([f"{FILE}:odd", "--target", "tflite", "--resolution", "32"], "special_i0 is at users_networks.py line"),
        ([f"{FILE}:small", "--target", "tflite", "--resolution", "32", "--crop", "0"], "crop_pct 0.0 is not allowed"),
    ],
)
def test_misuse_is_one_line(arguments, message, tmp_path, capsys):
    assert convert.main([*arguments, "--output-dir", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1] and not (tmp_path / "out").exists()


def test_pictures_of_some_of_the_classes_that_a_network_knows(folder, monkeypatch, capsys):
    """Two folders, matched by id and by name; itself as a teacher keeps the other three classes' answers."""
    from edge_vit import train
    from edge_vit.models.checkpoint_io import read_checkpoint

    monkeypatch.chdir(folder)
    quick = ["--data", "pictures", "--qat", "--weights", "auto", "--epochs", "1"]
    quick += ["--threads", "1", "--precision", "fp32", "--num-workers", "0"]
    teacher = ["--teacher", "net.py:five", "--distill-weight", "1"]
    assert train.main(["net.py:five", *quick, *teacher]) == 0
    said = capsys.readouterr().err
    assert ", 2 of the network's 5 classes" in said and "forget" not in said
    _, metadata = read_checkpoint(folder / "runs/five_32_qat/five_int8.safetensors")
    assert [entry["id"] for entry in metadata["classes"]] == ["cat", "0", "dog", "n1", "bird"]
    listed = (folder / "runs/five_32_qat/pictures.csv").read_text()
    assert "1/0.png,n1," in listed and "0/0.png,0," in listed
    assert train.main(["net.py:five", *quick, "--output-dir", "alone"]) == 0
    assert "labels of 2 classes alone make it forget the others; --teacher net.py:five" in capsys.readouterr().err
    shutil.copytree(folder / "pictures", folder / "others", dirs_exist_ok=True)
    (folder / "others" / "0").rename(folder / "others" / "horse")
    assert train.main(["net.py:five", "--data", "others", *quick[2:]]) == 2
    told = capsys.readouterr().err
    assert (
        "net.py:five gives 5 logits, but there are 2 classes, and they are none of its: no class for folder horse"
        in told
    )
