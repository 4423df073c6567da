"""Files that end in a softmax: it is in float, it is there once, and all before it stays as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lowered import Lowered
from torch import nn
from torch.fx import GraphModule

from converters.artefact import softmax
from converters.card import ModelCard
from converters.grids import read_operators
from converters.passes.softmax import ends_in_softmax

LABELS = ModelCard(labels=("ant", "bee", "cat", "dog", "eel"))
FILES = [
    pytest.param("tflite", LABELS, marks=pytest.mark.needs_tflite, id="tflite"),
    pytest.param("executorch", LABELS, marks=pytest.mark.needs_executorch, id="executorch"),
    pytest.param("coreml", LABELS, marks=pytest.mark.needs_coreml, id="coreml"),
    # Without names it has another output, no classifier's.
    pytest.param("coreml", ModelCard(), marks=pytest.mark.needs_coreml, id="coreml-nameless"),
    pytest.param("onnx", LABELS, marks=pytest.mark.needs_onnx, id="onnx"),
]


@pytest.mark.parametrize("is_int8", [False, True], ids=["fp32", "int8"])
@pytest.mark.parametrize(("target", "card"), FILES)
def test_a_file_gives_the_softmax_of_its_logits(
    target: str, is_int8: bool, card: ModelCard, small_model: nn.Module, tmp_path: Path
) -> None:
    model = Lowered.from_module(small_model, 16)
    model = model.int8() if is_int8 else model
    (tmp_path / "logits").mkdir()
    logits = model.to(target, tmp_path / "logits", card=card).runs()
    shares = model.probabilities().to(target, tmp_path, card=card).runs()
    assert logits.outputs is not None and shares.outputs is not None
    np.testing.assert_allclose(shares.outputs.sum(1), 1, atol=2e-3)
    np.testing.assert_allclose(shares.outputs, softmax(logits.outputs), atol=2e-3 if target == "coreml" else 1e-5)
    shares.agrees(db=25 if is_int8 else 60)
    if is_int8:
        assert logits.result is not None and shares.result is not None
        keys = [[operator.key for operator in read_operators(r.path)] for r in (logits.result, shares.result)]
        assert keys[0] == keys[1] and keys[0]


def test_the_model_stays_as_it_was(small_model: nn.Module, small_qdq: GraphModule) -> None:
    pixels = torch.full((1, 16, 16, 3), 100.0)
    for model in (small_model, small_qdq):
        before = model(pixels)
        assert torch.equal(ends_in_softmax(model)(pixels), before.softmax(-1))
        assert torch.equal(model(pixels), before)
