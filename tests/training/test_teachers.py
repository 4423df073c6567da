"""Teachers of every kind: they are shown what they know, and asked for the data's classes alone."""

import json
import re
import textwrap

import pytest
import tiny_training as tiny
import torch
from torch import nn

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from edge_vit.training.folders import list_splits
from edge_vit.training.teachers import INFO_FILE, load_teacher

CPU = torch.device("cpu")


@pytest.fixture
def splits(pictures):
    return list_splits(pictures)  # blue, red


class MeanColour(nn.Module):
    """Logits of green, "red, crimson" and n01 (blue): the mean of what it is shown, and how large that is."""

    def forward(self, x):
        red, green, blue = x.mean((2, 3)).unbind(1)
        return torch.stack([green, red, blue], 1) + 0.0 * x.shape[-1]


CLASSES = ["green", "red, crimson", {"id": "blue", "name": "the blue one"}]
MAKES = """
    import torch
    from test_teachers_classes import CLASSES, MeanColour

    def teacher():
        return {{"module": MeanColour(), "classes": CLASSES, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25){more}}}
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return make(text) -> the name of a function in a file of its own."""
    import sys
    import types

    shared = types.ModuleType("test_teachers_classes")
    shared.CLASSES, shared.MeanColour = CLASSES, MeanColour
    monkeypatch.setitem(sys.modules, "test_teachers_classes", shared)

    def make(text):
        (tmp_path / "mine.py").write_text(textwrap.dedent(text))
        return f"{tmp_path / 'mine.py'}:teacher"

    return make


def images(*colours, side=64):
    """Normalised pictures of one colour each, RGB in 0 to 1."""
    pixels = torch.tensor(colours).view(-1, 3, 1, 1).expand(-1, -1, side, side)
    return (pixels - torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)


def test_a_function_of_the_users_own(make, splits):
    teach = load_teacher(make(MAKES.format(more="")), splits, CPU, False)
    logits = teach(images((1.0, 0.5, 0.0), (0.25, 0.0, 0.75)))
    # Blue, then red; normalised as the teacher wants it: (x - 0.5) / 0.25.
    torch.testing.assert_close(logits, torch.tensor([[-2.0, 2.0], [1.0, -1.0]]))


def test_a_module_in_the_current_folder(make, splits, tmp_path, monkeypatch):
    make(MAKES.format(more=""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path != str(tmp_path)])
    assert load_teacher("mine:teacher", splits, CPU, False)(images((1.0, 0.5, 0.0))).shape == (1, 2)


def test_it_sees_its_own_resolution(make, splits):
    seen = []
    monkeyed = MeanColour.forward

    def forward(self, x):
        seen.append(tuple(x.shape))
        return monkeyed(self, x)

    MeanColour.forward = forward
    try:
        teach = load_teacher(make(MAKES.format(more=', "resolution": 48')), splits, CPU, False)
        teach(images((1.0, 0.5, 0.0)))
    finally:
        MeanColour.forward = monkeyed
    assert seen == [(2, 3, 48, 48), (1, 3, 48, 48)]


def test_an_exported_program(tmp_path, splits):
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(MeanColour(), (torch.zeros(2, 3, 64, 64),), dynamic_shapes=(batch,))
    info = {"classes": CLASSES, "mean": [0.5] * 3, "std": [0.25] * 3, "resolution": 64}
    path = tmp_path / "teacher.pt2"
    torch.export.save(program, path, extra_files={INFO_FILE: json.dumps(info)})
    teach = load_teacher(str(path), splits, CPU, False)
    torch.testing.assert_close(teach(images((0.25, 0.0, 0.75))), torch.tensor([[1.0, -1.0]]))
    torch.export.save(program, path)
    with pytest.raises(
        ValueError, match=re.escape(f"save it with extra_files={{'{INFO_FILE}': JSON of mean, std, cla")
    ):
        load_teacher(str(path), splits, CPU, False)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"teacher.pt2 is no exported program, or a damaged one"):
        load_teacher(str(path), splits, CPU, False)


def test_a_checkpoint_of_ours(float_weights, splits):
    logits = load_teacher(str(float_weights), splits, CPU, False)(images((0.15, 0.2, 0.8), (0.8, 0.2, 0.15)))
    assert logits.argmax(-1).tolist() == [0, 1]


@pytest.mark.needs_tflite
def test_a_converted_file(splits, tmp_path):
    mean_color = pytest.importorskip("mean_color")
    pytest.importorskip("ai_edge_litert")
    weights, bias = [[-1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [0.0, 5.0, 0.0]
    path = mean_color.write(tmp_path / "t.tflite", weights, bias, ["blue", "red", "green"])
    logits = load_teacher(str(path), splits, CPU, False)(images((0.2, 0.4, 0.8), (0.6, 0.0, 0.0)))
    torch.testing.assert_close(logits, torch.tensor([[153.0, 56.0], [-153.0, 158.0]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def teacher():\n    return 7", "mine.py:teacher returns int; return a dict with module, mean, std, classes"),
        ("def teacher():\n    return {'module': 1, 'mean': 1}", "mine.py:teacher lacks classes, std; its dict takes"),
        ("def teacher():\n    return dict.fromkeys(('module', 'mean', 'std', 'classes', 'size'))", "has unknown size"),
        (
            "def teacher():\n    return open('/gone/away')",
            "mine.py:teacher failed: FileNotFoundError: [Errno 2] No such",
        ),
        ("x = 1\ndef teacher():\n    return {}['key']", "failed: KeyError: 'key' (mine.py line 3)"),
        ("def pupil():\n    pass", "mine.py has no function teacher; it has pupil"),
        ("import not_there", "mine.py cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
        ("def teacher(:", "mine.py cannot be imported: SyntaxError"),
        (MAKES.format(more="").replace(": CLASSES,", ": ['blue', 'green', 'rot'],"), "no class for folder red"),
        (MAKES.format(more="").replace(": CLASSES,", ": [*CLASSES, 'more'],"), "logits each (it answers [2, 3])"),
        (MAKES.format(more="").replace("MeanColour()", "torch.nn.Linear(5, 3)"), "does not answer two images of 64 pi"),
    ],
)
def test_what_is_no_teacher_is_one_line(make, splits, text, message):
    with pytest.raises(ValueError) as caught:
        load_teacher(make(text), splits, CPU, False)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_training_learns_from_one(make, run, tmp_path):
    flags = ["--teacher", make(MAKES.format(more="")), "--distill-weight", 1, "--temperature", 2]
    soft = run(tmp_path / "soft", "--epochs", 1, *flags)
    hard = run(tmp_path / "hard", "--epochs", 1, *flags, "--distill", "hard")
    alone = run(tmp_path / "alone", "--epochs", 1)
    assert len({tuple(tiny.losses(records).values()) for records in (soft, hard, alone)}) == 3
