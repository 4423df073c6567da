"""Whole quantization-aware trainings of the tiny variant."""

import itertools
import json
import shutil

import pytest
import tiny_training as tiny
import torch

from edge_vit import train
from edge_vit.models.checkpoint_io import read_checkpoint, write_checkpoint
from edge_vit.quantization.qat import QatModel

INT8 = f"{tiny.NAME}_int8.safetensors"


CLASSES = [{"id": "n01", "name": "Blue"}, {"id": "n02", "name": "Red"}]


@pytest.fixture(scope="module")
def named_weights(float_weights, tmp_path_factory):
    """The float checkpoint with ids for its classes; the folders bear their names."""
    tensors, metadata = read_checkpoint(float_weights)
    path = tmp_path_factory.mktemp("named") / "named.safetensors"
    write_checkpoint(path, tensors, {**metadata, "classes": CLASSES})
    return path


@pytest.fixture(scope="module")
def flags(named_weights, pictures):
    """Nothing but what its defaults cannot know, or would make slow."""
    flags = [tiny.NAME, "--data", str(pictures), "--qat", "--weights", str(named_weights), "--batch-size", "8"]
    return [*flags, "--num-workers", "0", "--threads", "1", "--precision", "fp32", "--log-every", "1"]


@pytest.fixture(scope="module")
def trained(flags, tmp_path_factory):
    """A training with its own defaults: the folder, the log, and the ranges at each step."""
    grids, forward, root = [], QatModel.forward, tmp_path_factory.mktemp("qat")

    def record(self, x):
        if self.training and torch.is_grad_enabled():
            grids.append(self.ranges())
        return forward(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QatModel, "forward", record)
        patch.chdir(root)
        with tiny.copied_after_epoch(0):
            assert train.main(flags) == 0
    folder = root / "runs" / f"{tiny.NAME}_{tiny.SIDE}_qat"
    return folder, tiny.read_log(folder), grids


def test_its_own_defaults_keep_the_accuracy(trained):
    folder, records, _ = trained
    start, epochs = records[0]["start_top1"], tiny.epochs(records)
    assert len(epochs) == 2 and epochs[-1]["top1"] >= start >= 90.0
    peak = max(record["lr"] for record in records if "lr" in record)
    assert 0.9e-4 < peak <= 1e-4
    _, metadata = read_checkpoint(folder / INT8)
    assert metadata["form"] == "int8" and metadata["precision"] == "int8_qat"
    assert metadata["resolution"] == tiny.SIDE, "the checkpoint's"


def test_ranges_learn_and_then_freeze(trained):
    grids = trained[2]
    assert len(grids) == 8
    moved = [before != after for before, after in itertools.pairwise(grids)]
    assert moved == [True, True, True, True, True, True, False], "frozen for a quarter of eight steps"


def test_both_files_name_the_classes_of_the_float_checkpoint(trained, named_weights):
    folder = trained[0]
    _, metadata = read_checkpoint(folder / INT8)
    assert metadata["float_file"] == f"{tiny.NAME}_float.safetensors"
    assert (folder / metadata["float_file"]).read_bytes() == named_weights.read_bytes()
    assert metadata["classes"] == CLASSES == read_checkpoint(folder / metadata["float_file"])[1]["classes"]


def test_a_run_that_ends_below_its_start_says_so_and_keeps_the_start(
    command, float_weights, tmp_path, capsys, monkeypatch
):
    """Every step here throws away what was learnt."""
    from edge_vit.training import loop

    def forget(run):
        with torch.no_grad():
            for parameter in run.model.parameters():
                parameter.zero_()

    monkeypatch.setattr(loop, "_step", forget)
    arguments = command(tmp_path / "run", "--qat", "--weights", float_weights, "--json")
    assert train.main([*arguments, "--ema-decay", "0"]) == 0
    captured = capsys.readouterr()
    said, records = json.loads(captured.out), tiny.read_log(tmp_path / "run")
    start = records[0]["start_top1"]
    chosen_by = records[0]["start_select_top1"]
    assert all(record["select_top1"] < chosen_by for record in tiny.epochs(records)), "or the test shows nothing"
    assert said["chosen_epoch"] == -1 and said["select_top1"] == chosen_by
    assert said["top1"] == said["start_top1"] == start
    warning = f"warning: no epoch reached the calibrated model's {start:.2f}%, so {tmp_path / 'run' / INT8} holds that"
    assert warning in captured.err and "try a smaller --lr" in captured.err
    tensors, metadata = read_checkpoint(tmp_path / "run" / INT8)
    assert metadata["precision"] == "int8_ptq" and metadata["top1"] == start
    floats, _ = read_checkpoint(float_weights)
    assert all(torch.isfinite(value.float()).all() for value in tensors.values()) and floats


def test_a_resumed_run_repeats_the_whole_one(trained, flags):
    """Cut off before its second epoch, in which the ranges freeze."""
    cut = trained[0].with_name(f"{trained[0].name}_cut")
    assert len(tiny.epochs(tiny.read_log(cut))) == 1
    assert train.main([*flags, "--output-dir", str(cut)]) == 0
    records = tiny.read_log(cut)
    assert tiny.losses(records) == pytest.approx(tiny.losses(trained[1]), rel=1e-6)
    assert records[0] == trained[1][0], "the start is judged once"
    ours, whole = (read_checkpoint(folder / INT8) for folder in (cut, trained[0]))
    assert ours[1] == whole[1]
    for name, value in whole[0].items():
        torch.testing.assert_close(ours[0][name], value)


def test_other_classes_than_the_float_checkpoints_are_refused(pictures, command, float_weights, tmp_path, capsys):
    data = shutil.copytree(pictures, tmp_path / "data")
    for split in ("train", "val"):
        (data / split / "red").rename(data / split / "rot")
    cases = (
        (["--qat", "--weights", float_weights], "was trained for other classes than"),
        (["--teacher", float_weights], "does not know the classes of"),
    )
    for flags, message in cases:
        assert train.main(command(tmp_path / "run", *flags, data=data)) == 2
        error = capsys.readouterr().err
        assert message in error and "no class for folder rot" in error
        assert not (tmp_path / "run").exists()
