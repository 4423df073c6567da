"""A published variant trained end to end on pictures drawn here: it learns and quantizes.

How a training resumes, shares its work and fails: tests/training, with a smaller variant.
"""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from edge_vit import train
from edge_vit.models.checkpoint_io import read_checkpoint

COMMON = ["levit_128s", "--resolution", "64", "--batch-size", "8", "--threads", "1", "--precision", "fp32",
          "--num-workers", "0", "--log-every", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two classes that differ in colour: 32 pictures to learn from, 4 to choose by, 16 to judge by."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 18), ("val", 8)):
        for name, colour in (("blue", (40, 60, 200)), ("red", (200, 60, 40))):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 40, (72, 80, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def run(data, folder, *flags, epochs=2, model_flags=COMMON):
    arguments = [*model_flags, "--data", str(data), "--output-dir", str(folder), "--epochs", str(epochs), *flags]
    assert train.main(arguments) == 0
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(records):
    return {record["step"]: record["loss"] for record in records if "step" in record}


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("float")
    return folder, run(data, folder, epochs=6)


def test_it_learns_and_says_so(finished):
    folder, records = finished
    epochs = [record for record in records if "epoch" in record]
    assert [record["epoch"] for record in epochs] == list(range(6)) and len(losses(records)) == 24
    assert epochs[-1]["top1"] >= 90.0, "red and blue are easy"
    tensors, metadata = read_checkpoint(folder / "levit_128s_float.safetensors")
    assert metadata["form"] == "training" and metadata["resolution"] == 64
    assert [entry["id"] for entry in metadata["classes"]] == ["blue", "red"]
    assert tensors["head.linear.weight"].shape == (2, 384)


def test_other_settings_are_not_mixed_into_a_run(data, finished, capsys):
    folder, _ = finished
    flags = [*COMMON, "--data", str(data), "--output-dir", str(folder), "--epochs", "6", "--lr", "0.5"]
    assert train.main(flags) == 2
    assert "holds a run with other settings (lr=0.001)" in capsys.readouterr().err


def test_qat_keeps_the_accuracy_and_stores_its_ranges(data, finished, tmp_path):
    folder, _ = finished
    weights = folder / "levit_128s_float.safetensors"
    records = run(data, tmp_path, "--qat", "--weights", str(weights), "--lr", "1e-4", "--warmup-epochs", "0")
    assert [r["top1"] for r in records if "epoch" in r][-1] >= 90.0
    tensors, metadata = read_checkpoint(tmp_path / "levit_128s_int8.safetensors")
    assert metadata["form"] == "int8" and metadata["float_file"] == "levit_128s_float.safetensors"
    assert (tmp_path / "levit_128s_float.safetensors").read_bytes() == weights.read_bytes()
    matrices = [key for key, value in tensors.items() if value.dim() > 1 and value.dtype.is_floating_point]
    assert not matrices, "every weight is stored as the integers that ship"
    assert metadata["ranges"]["input"] == {"scale": 1.0, "zero_point": -128}
    keys = [name for name in metadata["ranges"] if name.endswith(("attn.k.linear.0", "attn.v.linear.0"))]
    assert len(keys) == 22 and all(metadata["ranges"][name]["zero_point"] == 0 for name in keys)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--qat"], "--qat starts from a float checkpoint"),
        (["--lr", "0"], "lr 0.0 is not allowed"),
        (["--resolution", "65"], "resolution 65 is not allowed"),
        (["--weights", "gone.pth"], "checkpoint gone.pth does not exist"),
        (["--min-scale", "2"], "min_scale 2.0 is not allowed"),
    ],
)
def test_misuse_is_one_line_and_code_2(data, tmp_path, capsys, flags, message):
    assert train.main([*COMMON, "--data", str(data), "--output-dir", str(tmp_path / "run"), *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


def test_missing_folders_are_named(tmp_path, capsys):
    assert train.main([*COMMON, "--data", str(tmp_path / "nowhere")]) == 2
    assert f"{tmp_path / 'nowhere'}: no such folder" in capsys.readouterr().err
    (tmp_path / "train").mkdir()
    assert train.main([*COMMON, "--data", str(tmp_path)]) == 2
    assert f"{tmp_path / 'train'}: no class folders" in capsys.readouterr().err


def test_unreadable_pictures_are_skipped_named_and_counted(data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "data")
    broken = tmp_path / "data" / "train" / "red" / "broken.png"
    broken.write_bytes(b"not a picture")
    records = run(tmp_path / "data", tmp_path / "run", epochs=1)
    lines = capsys.readouterr().err.splitlines()
    at = lines.index("warning: skipped 1 unreadable picture")
    assert lines[at + 1] == f"  {broken}: not a readable picture (unknown format)"
    assert sorted(losses(records)) == [0, 1, 2, 3], "32 pictures in batches of 8, not 33"
    assert losses(records) == losses(run(data, tmp_path / "clean", epochs=1))
