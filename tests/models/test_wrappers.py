"""Whatever a trainer wraps a state dict in is found, taken off and said; two sets of weights are never confused."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from edge_vit.models.checkpoint_io import Checkpoint, read_checkpoint, write_checkpoint
from edge_vit.models.registry import create_model
from edge_vit.models.weights import load_weights
from edge_vit.models.wrappers import unwrap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(2, 3)
        self.stages = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


class Lightning(nn.Module):
    """As a LightningModule keeps what it trains."""

    def __init__(self, name, model):
        super().__init__()
        setattr(self, name, model)


def plain():
    torch.manual_seed(0)
    return Net()


def average():
    return AveragedModel(plain())


def compiled_stage():
    model = plain()
    model.stages = torch.compile(model.stages)
    return model


def under(*path, state=None):
    content = plain().state_dict() if state is None else state
    for key in reversed(path):
        content = {key: content, "epoch": 3, "optimizer": {"state": {0: torch.zeros(3)}, "param_groups": []}}
    return content


WRAPPED = {
    "plain": lambda: plain().state_dict(),
    "DataParallel": lambda: nn.DataParallel(plain()).state_dict(),
    "compile": lambda: torch.compile(plain()).state_dict(),
    "compile inside parallel": lambda: nn.DataParallel(torch.compile(plain())).state_dict(),
    "parallel inside compile": lambda: torch.compile(nn.DataParallel(plain())).state_dict(),
    "compiled part": lambda: compiled_stage().state_dict(),
    "Lightning": lambda: under("state_dict", state=Lightning("model", plain()).state_dict()),
    "Lightning net, compiled": lambda: under("state_dict", state=Lightning("net", torch.compile(plain())).state_dict()),
    "twice": lambda: Lightning("model", Lightning("model", plain())).state_dict(),
    "DeepSpeed": lambda: under("module"),
    "DeepSpeed of Lightning": lambda: under("module", state=Lightning("model", plain()).state_dict()),
    "net": lambda: under("net"),
    "nested dicts": lambda: under("state_dict", "model", "module", state=nn.DataParallel(plain()).state_dict()),
    "swa": lambda: average().state_dict(),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_every_wrapper_comes_off(kind, tmp_path):
    path = tmp_path / "x.pth"
    torch.save(WRAPPED[kind](), path)
    checkpoint, want = Checkpoint(path), plain().state_dict()
    assert checkpoint.tensors.keys() == want.keys()
    assert all(torch.equal(checkpoint.tensors[key], value) for key, value in want.items())
    assert bool(checkpoint.notes) == (kind not in ("plain",)), "what was done is said"


def test_what_came_off_is_named(tmp_path, capsys):
    path = tmp_path / "x.pt"
    torch.save(under("state_dict", state=nn.DataParallel(torch.compile(plain())).state_dict()), path)
    read_checkpoint(path)
    assert capsys.readouterr().err == (
        f"{path}: weights lie under state_dict\n{path}: left out of the names: module._orig_mod.\n"
    )


def test_safetensors_of_others_are_unwrapped_and_ours_are_not(tmp_path):
    wrapped = nn.DataParallel(plain()).state_dict()
    write_checkpoint(tmp_path / "theirs.safetensors", wrapped, {})
    write_checkpoint(tmp_path / "ours.safetensors", wrapped, {"form": "int8"})
    assert "stem.weight" in Checkpoint(tmp_path / "theirs.safetensors").tensors
    assert "module.stem.weight" in Checkpoint(tmp_path / "ours.safetensors").tensors


def test_two_models_in_one_file_keep_their_names():
    both = Lightning("model", plain()).state_dict() | Lightning("net", plain()).state_dict()
    assert unwrap(both, torch.is_tensor).tensors.keys() == both.keys()


def test_what_stands_beside_the_model_stays_to_be_refused():
    state = Lightning("model", plain()).state_dict() | {"criterion.weight": torch.ones(2)}
    assert unwrap(state, torch.is_tensor).tensors.keys() == plain().state_dict().keys() | {"criterion.weight"}


def with_average(raw, averaged, shape):
    """Return a file's content that holds both sets."""
    if shape == "flat":  # as a Lightning module holds its average beside what it trains
        return {f"model.{k}": v for k, v in raw.items()} | {f"ema_model.module.{k}": v for k, v in averaged.items()}
    raw_key, average_key = shape
    wrapped = {"module": averaged} if average_key == "ema" else averaged
    return {raw_key: raw, average_key: wrapped, "epoch": 1}


@pytest.mark.parametrize(
    "shape", [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema"), ("model", "averaged"), "flat"]
)
def test_the_average_is_taken_and_the_raw_weights_on_demand(shape, tmp_path):
    raw = plain().state_dict()
    averaged = {key: value + 1 for key, value in raw.items()}
    path = tmp_path / "x.pth"
    torch.save(with_average(raw, averaged, shape), path)
    taken, other = Checkpoint(path), Checkpoint(path, takes_raw=True)
    assert all(torch.equal(taken.tensors[key], averaged[key]) for key in raw) and taken.tensors.keys() == raw.keys()
    assert all(torch.equal(other.tensors[key], raw[key]) for key in raw) and other.tensors.keys() == raw.keys()
    assert "holds raw and averaged weights: the average is taken; --raw-weights takes the others" in taken.notes[0]
    assert "holds raw and averaged weights: the raw ones are taken" in other.notes[0]


@pytest.mark.parametrize("content", [plain().state_dict(), {"model_ema": plain().state_dict()}])
def test_raw_weights_need_a_choice(content, tmp_path):
    path = tmp_path / "x.pth"
    torch.save(content, path)
    assert Checkpoint(path).tensors.keys() == plain().state_dict().keys()
    with pytest.raises(ValueError, match=r"x\.pth: it holds one set of weights; leave --raw-weights out"):
        _ = Checkpoint(path, takes_raw=True).tensors


@pytest.mark.parametrize("content", [{"epoch": 3}, {"model": {"epoch": 3}}, {"state_dict": {}}])
def test_a_file_without_tensors_is_refused(content, tmp_path):
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"x\.pth: it holds no tensors"):
        _ = Checkpoint(path).tensors


def test_a_model_loads_from_a_wrapped_file_and_reports_it(tmp_path):
    model = create_model("efficientvit_m0", num_classes=3)
    path = tmp_path / "x.pth"
    torch.save({"module": torch.compile(copy.deepcopy(model)).state_dict()}, path)
    again = create_model("efficientvit_m0", num_classes=3)
    report = load_weights(again, path)
    assert report.notes == (f"{path}: weights lie under module", f"{path}: left out of the names: _orig_mod.")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
