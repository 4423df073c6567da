"""Files that hold what they say are read; everything else is refused in one line, and nothing in it is run."""

import argparse
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from edge_vit.models.checkpoint_io import read_checkpoint, write_checkpoint

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.float16)}


class Payload:
    """Writes a file when its pickle is loaded by a trusting reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def same(got):
    return got.keys() == TENSORS.keys() and all(torch.equal(got[key], TENSORS[key]) for key in TENSORS)


def test_safetensors_round_trip_with_metadata(tmp_path):
    path = tmp_path / "new" / "x.safetensors"
    write_checkpoint(path, TENSORS, {"model": "levit_128s", "epochs": 3})
    tensors, metadata = read_checkpoint(path)
    assert same(tensors) and metadata == {"model": "levit_128s", "epochs": 3}
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


def test_metadata_must_be_a_dict(tmp_path):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, TENSORS, [1])
    with pytest.raises(ValueError, match="has list as edge_vit metadata; allowed: a dict"):
        read_checkpoint(path)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, TENSORS, {})
    with pytest.raises(TypeError):
        write_checkpoint(path, TENSORS, {"bad": object()})
    assert same(read_checkpoint(path)[0]) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("key", ["model", "state_dict", "model_ema", None])
def test_torch_files_nested_or_not(key, tmp_path):
    path = tmp_path / "x.pth"
    torch.save({key: TENSORS, "epoch": 3} if key else {**TENSORS, "epoch": 3}, path)
    assert same(read_checkpoint(path)[0])


def test_npz(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{key: value.numpy() for key, value in TENSORS.items()})
    assert same(read_checkpoint(path)[0])


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pth"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.7])
def test_truncated_file(suffix, keep, tmp_path):
    path = tmp_path / f"x.{suffix}"
    tensors = {"a": torch.randn(300, 7)}
    if suffix == "safetensors":
        write_checkpoint(path, tensors, {})
    elif suffix == "npz":
        np.savez(path, a=tensors["a"].numpy())
    else:
        torch.save(tensors, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match="is empty" if keep == 0 else r"truncated|refused: it is no file") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_pickle_that_wants_more_is_refused_by_name(tmp_path):
    path, trace = tmp_path / "x.pth", tmp_path / "ran"
    torch.save({"model": TENSORS, "x": Payload(trace)}, path)
    wanted = rf"{open.__module__}\.open"  # io.open until Python 3.11, _io.open since
    with pytest.raises(ValueError, match=f"is refused: its pickle wants {wanted}, more than tensors; where") as caught:
        read_checkpoint(path)
    assert not trace.exists() and "\n" not in str(caught.value)


def test_plain_pickle_is_refused(tmp_path):
    path, trace = tmp_path / "x.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"x": Payload(trace)}))
    with pytest.raises(ValueError, match=r"is refused: it is no file that torch\.save wrote") as caught:
        read_checkpoint(path)
    assert not trace.exists() and "\n" not in str(caught.value)


def test_command_line_stored_beside_the_weights_is_no_obstacle(tmp_path):
    path = tmp_path / "x.pth.tar"
    torch.save({"state_dict": TENSORS, "args": argparse.Namespace(lr=0.1), "epoch": 3}, path)
    assert same(read_checkpoint(path)[0])


def test_npz_with_objects_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="holds objects"):
        read_checkpoint(path)


def test_missing_file_and_no_dict(tmp_path):
    with pytest.raises(ValueError, match=r"x\.pth does not exist; give the path of a \.safetensors"):
        read_checkpoint(tmp_path / "x.pth")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds list; allowed: a dict of tensors"):
        read_checkpoint(tmp_path / "list.pth")
    (tmp_path / "photo.pth").write_bytes(b"\xff\xd8\xff\xe0 not a checkpoint" * 20)
    with pytest.raises(ValueError, match=r"refused|no torch file"):
        read_checkpoint(tmp_path / "photo.pth")


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path):
    """The system itself refuses the write: files may not grow beyond 1000 bytes."""
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, TENSORS, {"epoch": 1})
    script = (
        "import resource, sys, torch\n"
        "from edge_vit.models.checkpoint_io import write_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_checkpoint(sys.argv[1], {'a': torch.zeros(9999)}, {})\n"
        "except ValueError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot write ") and "; free space or choose another" in done.stdout
    assert same(read_checkpoint(path)[0]) and len(list(tmp_path.iterdir())) == 1
