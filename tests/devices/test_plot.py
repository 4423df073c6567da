import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from edge_vit.devices.plot import write_plot

SVG = "{http://www.w3.org/2000/svg}"


def plain(model: str, samples: list[float], sustained: list[list[float]] | None = None) -> dict:
    rounds = [{"samples_us": samples}] if samples else [{"num_samples": 2}]
    return {"model": model, "device_name": "R5C", "rounds": rounds, "sustained": sustained or []}


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]


def test_draws_distribution_and_curve(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    fast = [5000.0 + i % 50 for i in range(1000)] + [90000.0]  # one outlier, which must not squeeze the rest
    slow = [9000.0 + i % 90 for i in range(1000)]
    write_plot(
        path, [plain("a<b>.tflite", fast, [[i * 60, 5000 + 100 * i] for i in range(10)]), plain("c.tflite", slow)]
    )
    root = ElementTree.parse(path).getroot()
    lines = list(root.iter(f"{SVG}polyline"))
    assert len(lines) == 3
    texts = [t.text or "" for t in root.iter(f"{SVG}text")]
    assert "a<b>.tflite on R5C" in texts and "Distribution of latency" in texts
    assert "Sustained: median latency over time" in texts and "minutes" in texts
    # In the histogram the fast model lies left of the slow one; in the curve latency rises, so y falls.
    mode = [min(points(line), key=lambda p: p[1])[0] for line in lines[:2]]
    assert mode[0] < 200 < 700 < mode[1]
    curve = points(lines[2])
    assert curve[0][1] > curve[-1][1] and curve[0][0] < curve[-1][0]
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for line in lines:
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points(line))
    assert not re.search(r'"[^"]*\b(nan|inf)\b', path.read_text())


def test_equal_samples_are_drawn_too(tmp_path: Path) -> None:
    write_plot(tmp_path / "x.svg", [plain("a", [5000.0] * 60)])
    ElementTree.parse(tmp_path / "x.svg")


def test_refuses_what_it_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--plot x\.png: only \.svg can be drawn"):
        write_plot(tmp_path / "x.png", [plain("a", [1.0] * 60)])
    with pytest.raises(ValueError, match="nothing to plot: no record keeps samples"):
        write_plot(tmp_path / "x.svg", [plain("a", [])])
