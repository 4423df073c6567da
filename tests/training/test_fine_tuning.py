"""Trainings that start from weights of other classes, on data as people have it."""

import shutil

import pytest
import tiny_training as tiny
import torch

from edge_vit import train
from edge_vit.models.checkpoint_io import read_checkpoint

FLOAT = f"{tiny.NAME}_float.safetensors"


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """One folder of three other classes, 20 pictures each."""
    root = tmp_path_factory.mktemp("others")
    tiny.write_pictures(root, classes=("grass", "sky", "wall"), num_train=20, num_val=1)
    shutil.rmtree(root / "val")
    return (root / "train").rename(root / "all")


@pytest.fixture(scope="module")
def tuned(run, others, float_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return folder, run(folder, "--weights", float_weights, "--epochs", 2, data=others)


def test_other_classes_get_a_new_classifier(tuned, float_weights):
    folder, _ = tuned
    tensors, metadata = read_checkpoint(folder / FLOAT)
    assert [entry["id"] for entry in metadata["classes"]] == ["grass", "sky", "wall"]
    assert tensors["head.linear.weight"].shape[0] == 3 and tensors["head_dist.linear.weight"].shape[0] == 3
    started = metadata["started_from"]
    assert started["weights"] == str(float_weights) and len(started["sha256"]) == 64
    assert set(started["left_out"]) == {name for name in read_checkpoint(float_weights)[0] if name.startswith("head")}
    assert metadata["num_val_images"] == 6


def test_what_was_done_is_said(others, float_weights, command, tmp_path, capsys):
    assert train.main(command(tmp_path / "run", "--weights", float_weights, "--epochs", 1, data=others)) == 0
    said = capsys.readouterr().err
    assert "pictures: 48 to learn from, 6 to choose the epoch by, 6 to judge by, 3 classes\n" in said
    assert "fine-tuning: 1 epochs, batch 8, learning rate 0.0005, 0.75 of it from block to block\n" in said
    assert f"weights: {float_weights}, of {tiny.NAME}, own names\n" in said
    assert "a new classifier for 3 classes; 12 keys left out (head" in said
    assert f"the split is kept in {tmp_path / 'run' / 'pictures.csv'}, which accuracy takes as --data\n" in said


def test_the_classifier_alone_learns_first(run, others, float_weights, tmp_path):
    floats, _ = read_checkpoint(float_weights)
    flags = ["--weights", float_weights, "--epochs", 2, "--head-epochs", 1]
    with tiny.copied_after_epoch(0):
        whole = run(tmp_path / "run", *flags, data=others)
    states = [torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("run_cut", "run")]
    body = [key for key in floats if not key.startswith("head")]
    assert all(torch.equal(states[0][key].half(), floats[key].half()) for key in body), "statistics of norms too"
    assert not any(torch.equal(states[1][key], states[0][key]) for key in body if key.endswith("conv.weight"))
    resumed = run(tmp_path / "run_cut", *flags, data=others)
    assert tiny.losses(resumed) == pytest.approx(tiny.losses(whole), rel=1e-5)


def test_two_batches_make_a_step(run, pictures, tmp_path, monkeypatch):
    from edge_vit.training import loop

    steps, step = [], loop._step
    monkeypatch.setattr(loop, "_step", lambda run: (steps.append(len(steps)), step(run)))
    run(tmp_path / "run", "--epochs", 1, "--accumulate", 3)
    assert len(steps) == 2, "four batches: three, and the one that is left"


def test_it_ends_when_no_better_epoch_comes(command, tmp_path, capsys, monkeypatch):
    from edge_vit.training.loop import Score

    monkeypatch.setattr(Score, "is_better_than", lambda self, other: False)
    flags = ["--epochs", 9, "--patience", 2]
    assert train.main(command(tmp_path / "run", *flags)) == 0
    epochs = tiny.epochs(tiny.read_log(tmp_path / "run"))
    assert len(epochs) == 3 and epochs[-1]["chosen_epoch"] == 0
    assert "no better epoch for 2: ended after epoch 2\n" in capsys.readouterr().err
    assert train.main(command(tmp_path / "run", *flags)) == 0, "and stays ended"
    assert tiny.epochs(tiny.read_log(tmp_path / "run")) == epochs


def test_uneven_classes_are_said_and_drawn_as_often(command, tmp_path, capsys, monkeypatch):
    from edge_vit.training import loop

    data = tiny.write_pictures(tmp_path / "data", num_train=22)
    for picture in sorted((data / "train" / "red").iterdir())[2:]:
        picture.unlink()
    seen, backward = [], loop._backward
    monkeypatch.setattr(
        loop,
        "_backward",
        lambda run, images, labels, *rest: (seen.extend(labels.tolist()), backward(run, images, labels, *rest))[1],
    )
    assert train.main(command(tmp_path / "run", "--epochs", 1, "--batch-size", 11, "--balanced", data=data)) == 0
    assert "classes are uneven: blue has 20 pictures to learn from, red 2; --balanced draws" in capsys.readouterr().err
    assert sorted([seen.count(0), seen.count(1)]) == [11, 11]


def test_fewer_pictures_than_a_batch(command, tmp_path, float_weights):
    data = tiny.write_pictures(tmp_path / "data", classes=("a", "b"), num_train=2, num_val=1)
    shutil.rmtree(data / "val")
    flags = ["--weights", float_weights, "--epochs", 2, "--batch-size", 64]
    assert train.main(command(tmp_path / "run", *flags, data=data / "train")) == 0
    assert len(tiny.losses(tiny.read_log(tmp_path / "run"))) == 2


def test_quantized_weights_are_no_start(command, tmp_path, capsys):
    from edge_vit.models.sources import embedded_path

    weights = embedded_path("levit_128s", is_quantized=True)
    assert train.main(command(tmp_path / "run", "--weights", weights)) == 2
    assert "levit_128s_int8.safetensors is int8; training starts from float weights" in capsys.readouterr().err
