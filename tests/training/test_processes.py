"""Two processes under torchrun compute what one does with batches of twice the size, up to the order of sums."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training as tiny
import torch

from edge_vit import train
from edge_vit.models.checkpoint_io import read_checkpoint
from edge_vit.training.processes import Place, find_place

ROOT = Path(__file__).parents[2]
FLOAT, INT8 = f"{tiny.NAME}_float.safetensors", f"{tiny.NAME}_int8.safetensors"
LENGTH = ["--epochs", "2", *tiny.WHOLE_PICTURES]


def test_the_place_is_what_torchrun_says(monkeypatch):
    assert find_place() == Place(rank=0, num_processes=1, local_rank=0) and Place().is_main
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    place = find_place()
    assert place == Place(rank=5, num_processes=8, local_rank=1) and not place.is_main
    assert list(place.share(20)) == [5, 13]


def torchrun(*arguments):
    """Run the command in two processes; return what they print."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [*launcher, "-m", "tiny_training", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("top-1") == 1, "one process speaks"
    return done


@pytest.fixture(scope="module")
def folders(command, tmp_path_factory):
    """Trainings in one process with batches of 8, in two with 4 each: float, QAT, and QAT resumed after an epoch."""
    root = tmp_path_factory.mktemp("processes")
    commands = {}
    for number, batch_size in (("one", "8"), ("two", "4")):
        common = [*LENGTH, "--batch-size", batch_size]
        qat = [*common, "--qat", "--weights", str(root / "one" / "float" / FLOAT), "--lr", "1e-3"]
        commands[number, "float"] = command(root / number / "float", *common, "--lr", "4e-3")
        commands[number, "qat"] = command(root / number / "qat", *qat)
        commands[number, "qat_cut"] = command(root / number / "qat_cut", *qat)
    assert train.main(commands["one", "float"]) == 0
    assert train.main(commands["one", "qat"]) == 0
    torchrun(*commands["two", "float"])
    assert torchrun("COPY_AFTER_EPOCH=0", *commands["two", "qat"]).stderr.count("calibrating") == 1
    assert torchrun(*commands["two", "qat_cut"]).stderr.count("resumed after epoch 0") == 1
    return root


@pytest.mark.parametrize(("name", "alone"), [("float", "float"), ("qat", "qat"), ("qat_cut", "qat")])
def test_losses_and_accuracy_are_those_of_one_process(folders, name, alone):
    one, two = tiny.read_log(folders / "one" / alone), tiny.read_log(folders / "two" / name)
    assert sorted(tiny.losses(two)) == list(range(8)), "32 pictures in two batches of 4: four steps an epoch"
    assert tiny.losses(two) == pytest.approx(tiny.losses(one), rel=2e-5)
    assert [r["top1"] for r in tiny.epochs(two)] == pytest.approx([r["top1"] for r in tiny.epochs(one)], abs=100 / 16)
    assert one[0].get("start_top1") == two[0].get("start_top1")


def test_the_weights_are_those_of_one_process(folders):
    """Of matrices and kernels: a bias that a batch norm takes out again has no gradient but the rounding of sums."""
    states = [torch.load(folders / number / "float" / "last.pt", weights_only=True) for number in ("one", "two")]
    for part in ("model", "averaged"):
        one, two = (state[part] for state in states)
        matrices = [key for key, value in one.items() if value.ndim > 1 and not key.endswith("table")]
        assert len(matrices) > 20
        for key in matrices:
            torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=5e-4, msg=lambda m, key=key: f"{key}: {m}")
    assert states[1]["model"]["stem.0.norm.num_batches_tracked"] == 8


def test_a_resumed_training_ends_as_the_whole_one(folders):
    whole, resumed = (read_checkpoint(folders / "two" / name / INT8) for name in ("qat", "qat_cut"))
    assert whole[1] == resumed[1]
    assert all(torch.equal(value, resumed[0][key]) for key, value in whole[0].items())
