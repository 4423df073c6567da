"""Guesses, bars and the drawn pictures."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from converters.artefact import softmax
from edge_vit import classify
from edge_vit.evaluation.drawing import SUBJECTS, draw

IDS = ("blue", "green", "red")


@pytest.fixture
def artefact(write_artefact):
    """Logits: a twentieth of the mean of blue, green and red."""
    return write_artefact("colors.tflite", np.eye(3)[::-1] * 0.05, [0.0, 0.0, 0.0], IDS)


def picture(tmp_path, name, color):
    Image.new("RGB", (10, 10), color).save(tmp_path / name)
    return str(tmp_path / name)


@pytest.mark.needs_tflite
def test_classes_come_likeliest_first(artefact, tmp_path, capsys):
    paths = [picture(tmp_path, "a.png", (200, 100, 0)), picture(tmp_path, "b.png", (0, 0, 200))]
    assert classify.main([str(artefact), paths[0], "--json", paths[1]]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert [guess["id"] for guess in first["guesses"]] == ["red", "green", "blue"]
    assert first["image"] == paths[0] and first["error"] is None
    powers = np.exp([10.0, 5.0, 0.0])
    assert [guess["probability"] for guess in first["guesses"]] == pytest.approx(powers / powers.sum(), rel=1e-4)
    assert second["guesses"][0]["name"] == "the blue one"


@pytest.mark.needs_tflite
def test_probabilities_are_taken_as_they_are(write_artefact, tmp_path, capsys):
    path = picture(tmp_path, "a.png", (200, 100, 0))
    said = []
    for kind in ("logits", "probabilities"):
        artefact = write_artefact(f"{kind}.tflite", np.eye(3)[::-1] * 0.005, [0.0, 0.0, 0.0], IDS, "fp32", kind)
        assert classify.main([str(artefact), path, "--json"]) == 0
        said.append([guess["probability"] for guess in json.loads(capsys.readouterr().out)[0]["guesses"]])
    powers = np.exp([1.0, 0.5, 0.0])
    assert said[0] == pytest.approx(powers / powers.sum(), rel=1e-4)
    assert said[1] == pytest.approx(said[0], rel=1e-5)


@pytest.mark.needs_tflite
def test_bars_are_printed(artefact, tmp_path, capsys):
    path = picture(tmp_path, "a.png", (40, 30, 0))
    assert classify.main([str(artefact), path, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == path and len(lines) == 3
    assert lines[1].startswith("  the red one     57.4%  █████") and lines[2].startswith("  the green one   34.8%  ███")


@pytest.mark.needs_tflite
def test_terminals_without_blocks_get_plain_bars(artefact, tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    assert classify.main([str(artefact), picture(tmp_path, "a.png", (200, 0, 0))]) == 0
    assert b"100.0%  ##############################" in stream.buffer.getvalue()


@pytest.mark.needs_tflite
def test_unreadable_picture_is_named_and_the_rest_shown(artefact, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no")
    good = picture(tmp_path, "a.png", (200, 0, 0))
    assert classify.main([str(artefact), str(tmp_path / "bad.png"), good]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(good) and "bad.png: not a readable picture" in err and err.count("\n") == 1
    assert classify.main([str(artefact), str(tmp_path / "bad.png")]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.needs_tflite
def test_drawn_picture_is_saved_and_classified(artefact, tmp_path, capsys):
    path = tmp_path / "drawn.png"
    assert classify.main([str(artefact), "--draw", str(path), "--subject", "parachute"]) == 0
    assert capsys.readouterr().out.startswith(f"{path}\n  the blue one")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(draw("parachute")))
    assert [p.name for p in tmp_path.glob("*drawn*")] == ["drawn.png"]


@pytest.mark.needs_tflite
@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "no pictures; name some, or let one be drawn with --draw FILE"),
        (["a.png", "--top", "0"], "top 0 is not allowed"),
        (["--draw", "{tmp}/a.txt"], "unknown kind of picture; end the name in .png or .jpg"),
        (["--draw", "{tmp}/gone/a.png"], "cannot be written (No such file or directory)"),
        (["--draw", "{tmp}/colors.tflite/a.png"], "cannot be written (Not a directory)"),
        (["--draw", "{tmp}/a.png", "--subject", "cat"], "cannot draw 'cat'; choose from golf ball, parachute"),
    ],
)
def test_misuse_is_one_line_and_code_2(artefact, tmp_path, capsys, arguments, message):
    assert classify.main([str(artefact), *(text.format(tmp=tmp_path) for text in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
    assert not list(tmp_path.glob("*.png")) and not list(tmp_path.glob("*.part*"))


@pytest.mark.needs_tflite
def test_a_drawing_that_cannot_take_its_place_leaves_what_is_there(artefact, tmp_path, capsys):
    (tmp_path / "a.png").mkdir()
    (tmp_path / "a.png/inside").write_text("somebody's")
    assert classify.main([str(artefact), "--draw", str(tmp_path / "a.png")]) == 2
    assert "a.png: cannot be written (Is a directory)" in capsys.readouterr().err
    assert (tmp_path / "a.png/inside").read_text() == "somebody's" and not list(tmp_path.glob(".*"))


def test_softmax_survives_large_logits():
    shares = softmax(np.array([[1000.0, 999.0], [-1e4, 0.0]], np.float32))
    np.testing.assert_allclose(shares, [[0.7310586, 0.2689414], [0.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize("share, text", [(0.0, ""), (1.0, "█" * 30), (0.5, "█" * 15), (1 / 240, "▏"), (7 / 240, "▉")])
def test_bars(share, text):
    assert classify.bar(share, is_plain=False) == text


@pytest.mark.parametrize("subject", SUBJECTS)
def test_drawing_is_repeatable_and_scales(subject):
    first = np.asarray(draw(subject, 96))
    np.testing.assert_array_equal(first, np.asarray(draw(subject, 96)))
    small = np.asarray(draw(subject, 192).resize((96, 96))).astype(float)
    assert first.shape == (96, 96, 3) and np.abs(small - first).mean() < 16


def test_drawing_refuses_sizes():
    with pytest.raises(ValueError, match="size 10 is not allowed; use 64 to 2048 pixels"):
        draw("golf ball", 10)
