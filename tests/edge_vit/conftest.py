"""Artefacts small enough to write by hand."""

from pathlib import Path

import mean_color
import pytest


@pytest.fixture
def write_artefact(tmp_path):
    """Return write(name, weights (C, 3), bias (C,), ids, precision): a .tflite of the mean colour and its manifest."""

    def write(name, *arguments) -> Path:
        return mean_color.write(tmp_path / name, *arguments)

    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    return write
