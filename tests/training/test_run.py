"""Whole trainings of the tiny variant: what they refuse and when, how they resume, what they leave behind."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training as tiny
import torch

from edge_vit import train
from edge_vit.models.checkpoint_io import read_checkpoint
from edge_vit.training.augment import BatchAugment

ROOT = Path(__file__).parents[2]
FLOAT, INT8 = f"{tiny.NAME}_float.safetensors", f"{tiny.NAME}_int8.safetensors"


def refused(capsys, arguments, code=2):
    """Run the command, which fails; return its one line."""
    capsys.readouterr()
    assert train.main(arguments) == code
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and error.endswith(f"{lines[0]}\n") and "Traceback" not in error
    return lines[0]


def test_it_learns_and_writes_what_it_says(finished, capsys):
    folder, records = finished
    epochs = tiny.epochs(records)
    assert epochs[-1]["top1"] >= 90.0, "red and blue are easy"
    assert [record["epoch"] for record in epochs] == [0, 1, 2] and sorted(tiny.losses(records)) == list(range(12))
    for i, record in enumerate(epochs):
        best = max(epochs[: i + 1], key=lambda r: (r["select_top1"], -r["select_loss"]))
        assert record["chosen_epoch"] == best["epoch"], "by pictures held back, whatever the others say"
    tensors, metadata = read_checkpoint(folder / FLOAT)
    assert metadata == {
        "model": tiny.NAME, "resolution": tiny.SIDE, "top1": epochs[-1]["top1"], "num_val_images": 16,
        "form": "training", "classes": [{"id": "blue", "name": "blue"}, {"id": "red", "name": "red"}],
    }  # fmt: skip
    assert tensors["head.linear.weight"].shape == (2, 32)
    assert sorted(os.listdir(folder)) == ["curves.svg", "last.pt", FLOAT, "log.csv", "log.jsonl"]


def test_misuse_is_refused_before_torch_loads(pictures, tmp_path):
    """One process, many commands: none of them may load torch, none may leave anything."""
    for root, drop in ((tmp_path / "no_val_red", "val/red"), (tmp_path / "one", "*/red")):
        shutil.copytree(pictures, root)
        for folder in root.glob(drop):
            shutil.rmtree(folder)
    (tmp_path / "file").write_text("")
    cases = [
        (["--batch-size", "1"], "batch_size 1 is not allowed; use 2 up to 65536"),
        (["--val-share", "0.2"], "--val-share divides one folder or list;"),
        (["--weights", "gone.pth"], "checkpoint gone.pth does not exist"),
        (
            ["--teacher", "gone.pth"],
            "teacher gone.pth does not exist; give a checkpoint, a converted file, a .pt2 program",
        ),
        (["--label-smoothing", "1.5"], "label_smoothing 1.5 is not allowed"),
        (["--seed", "99999999999999999999"], "seed 99999999999999999999 is not allowed"),
        (["--epochs", "2", "--warmup-epochs", "3"], "3 epochs of warm-up leave nothing of 2"),
        (["--qat"], "--qat starts from a float checkpoint"),
        (["--data", str(tmp_path / "no_val_red")], "only train has red; give both the same classes"),
        (["--num-workers", "-1"], "num_workers -1 is not allowed"),
        (["--data", str(tmp_path / "one")], "train has one class, blue; training needs two classes or more"),
        (["--data", str(tmp_path / "nowhere")], f"{tmp_path / 'nowhere'}: no such folder"),
        (["--output-dir", str(tmp_path / "file")], "file takes no files (File exists)"),
        (["--output-dir", str(tmp_path / "file" / "below")], "below takes no files (Not a directory)"),
    ]
    common = ["levit_128s", *tiny.COMMON[1:], "--data", str(pictures), "--output-dir", str(tmp_path / "runs" / "new")]
    code = f"""
import contextlib, io, json, sys
from edge_vit import train
for flags in {[flags for flags, _ in cases]!r}:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        code = train.main({common!r} + flags)
    print(json.dumps([code, err.getvalue(), "torch" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    for line, (_, message) in zip(done.stdout.splitlines(), cases, strict=True):
        exit_code, error, loaded_torch = json.loads(line)
        assert exit_code == 2 and error.startswith("error: ") and error.count("\n") == 1
        assert message in error and not loaded_torch
    assert sorted(os.listdir(tmp_path)) == ["file", "no_val_red", "one"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--resolution", "33"], "resolution 33 is not allowed"),
        (["--weights", "gone.pth"], "checkpoint gone.pth does not exist"),
        (["--teacher", "gone.pth"], "teacher gone.pth does not exist"),
        (["--qat", "--weights", "gone.pth"], "checkpoint gone.pth does not exist"),
    ],
)
def test_a_failed_run_leaves_no_folder(command, tmp_path, capsys, flags, message):
    assert message in refused(capsys, command(tmp_path / "runs" / "new", *flags))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_first_epoch_leaves_no_folder(command, tmp_path, monkeypatch):
    from edge_vit.training import loop

    step = loop._backward

    def interrupt(run, *arguments):
        if (tmp_path / "runs" / "new" / "log.jsonl").exists():
            raise KeyboardInterrupt
        return step(run, *arguments)

    monkeypatch.setattr(loop, "_backward", interrupt)
    assert train.main(command(tmp_path / "runs" / "new", "--epochs", 1)) == 130
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_is_one_line(command, tmp_path, capsys, monkeypatch):
    from edge_vit.training import loop

    monkeypatch.setattr(loop, "_loss", lambda run, x, output, targets: output[0].sum() * float("nan"))
    message = refused(capsys, command(tmp_path / "new", "--epochs", 1), code=1)
    assert message == "error: loss is nan at step 0; use a smaller --lr"
    assert not (tmp_path / "new").exists()


def test_stochastic_depth_and_augmentation_draw_from_streams_of_their_own(run, tmp_path, monkeypatch):
    seen = {}
    augment = BatchAugment.__call__

    def record(self, images, targets, generator):
        x, mixed = augment(self, images, targets, generator)
        seen.setdefault(name, []).append((generator.initial_seed(), torch.initial_seed(), x.clone()))
        return x, mixed

    monkeypatch.setattr(BatchAugment, "__call__", record)
    for name, drop in (("without", 0.0), ("with", 0.5)):
        run(tmp_path / name, "--epochs", 2, "--drop-path", drop)
    seeds = [seed for entry in seen["with"] for seed in entry[:2]]
    assert len(set(seeds)) == len(seeds) == 16, "eight steps, two streams, all different"
    for (*_, x), (*_, other) in zip(seen["without"], seen["with"], strict=True):
        assert torch.equal(x, other), "dropping paths does not change the pictures"
    assert tiny.losses(tiny.read_log(tmp_path / "without"))[7] != tiny.losses(tiny.read_log(tmp_path / "with"))[7]


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run's folder."""
    return shutil.copytree(finished[0], tmp_path / "copied")


def test_a_finished_run_says_again_what_it_reached(finished, copied, command, capsys):
    assert train.main([*command(copied, *tiny.LEARNS), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    last = tiny.epochs(finished[1])[-1]
    select = tiny.epochs(finished[1])[last["chosen_epoch"]]["select_top1"]
    assert said == {
        "checkpoint": str(copied / FLOAT), "top1": last["top1"], "epochs": 3, "num_val_images": 16, "start_top1": None,
        "chosen_epoch": last["chosen_epoch"], "select_top1": select, "num_select_images": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "was"),
    [(["--lr", "0.5"], "lr=0.004"), (["--color", "0"], "augment="), (["--epochs", "2"], "epochs=3")],
)
def test_other_settings_are_not_mixed_into_a_run(copied, command, capsys, flags, was):
    message = refused(capsys, command(copied, *tiny.LEARNS, *flags))
    assert f"holds a run with other settings ({was}" in message


def test_other_data_is_not_mixed_into_a_run(pictures, copied, command, tmp_path, capsys):
    data = shutil.copytree(pictures, tmp_path / "data")
    for split in ("train", "val"):
        (data / split / "red").rename(data / split / "rot")
    message = refused(capsys, command(copied, *tiny.LEARNS, data=data))
    assert re.search(
        r"other settings \(classes=2 \w+, train=32 pictures \w+, select=4 pictures \w+, val=16 pictures \w+\)",
        message,
    )


def test_a_finished_run_is_prolonged_as_the_message_says(finished, copied, command, capsys):
    message = refused(capsys, command(copied, *tiny.LEARNS, "--epochs", 4))
    assert "holds a run of 3 epochs; add --prolong to go on to 4" in message
    assert train.main(command(copied, *tiny.LEARNS, "--epochs", 4, "--prolong")) == 0
    records = tiny.read_log(copied)
    assert records[: len(finished[1])] == finished[1] and sorted(tiny.losses(records)) == list(range(16))
    assert [record["epoch"] for record in tiny.epochs(records)] == [0, 1, 2, 3]
    rates = [record["lr"] for record in records if "lr" in record]
    assert rates[12] > rates[11], "the rate of a run of four epochs"
    assert train.main(command(copied, *tiny.LEARNS, "--epochs", 4)) == 0


def test_a_damaged_state_is_one_line_and_a_damaged_log_none(finished, copied, command, capsys):
    with (copied / "log.jsonl").open("ab") as file:
        file.write(b"\xffgarbage}\n")
    capsys.readouterr()
    assert train.main(command(copied, *tiny.LEARNS)) == 0
    assert tiny.read_log(copied) == finished[1] and "resumed after epoch 2" in capsys.readouterr().err
    (copied / "last.pt").write_bytes((copied / "last.pt").read_bytes()[:5000])
    assert "last.pt is no state that a training left, or it is damaged" in refused(
        capsys, command(copied, *tiny.LEARNS)
    )


def test_a_killed_run_resumes_with_the_same_losses(finished, command, tmp_path):
    """Kill the process in mid-epoch; the resumed run repeats that epoch and goes on as if never stopped."""
    arguments = command(tmp_path / "killed", *tiny.LEARNS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    program = [sys.executable, "-m", "tiny_training", "KILL_AT_STEP=6", *arguments]
    done = subprocess.run(program, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == -9, done.stderr
    killed = tiny.losses(tiny.read_log(tmp_path / "killed"))
    assert sorted(killed) == list(range(7)), "two steps into the second epoch"
    assert train.main(arguments) == 0
    assert tiny.losses(tiny.read_log(tmp_path / "killed")) == pytest.approx(tiny.losses(finished[1]), rel=1e-6)
