"""The backend torch, ONNX, onnx2tf, TFLite: what is refused at once, and the whole way on a small network."""

import logging
import sys

import numpy as np
import pytest
import torch
from graphs import is_state, state
from torch import nn

from converters.onnx2tf import export as to_onnx
from converters.onnx2tf.export import take_off_pairs_, values_key
from converters.onnx2tf.lower import convert, grids_by_tensor, run_onnx2tf
from converters.passes.graph import owned_graph
from converters.tflite.lower import TFLiteOptions

needs_onnx = pytest.mark.skipif(
    any(__import__("importlib.util").util.find_spec(name) is None for name in ("onnx", "onnxscript")),
    reason="needs edge_vit[onnx]",
)


def test_key_does_not_depend_on_layout_but_on_values():
    weight = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    assert values_key(weight) == values_key(weight.transpose(2, 0, 1))
    assert values_key(weight) != values_key(weight + np.float32(1e-6))


def test_two_grids_in_one_tensor_are_refused():
    grids = {"picture": (1.0, -128), "a": (0.5, 0), "b": (0.25, 0), "gone": (0.125, 3)}
    assert grids_by_tensor(grids, {"a": "t", "b": "u"}) == {"picture": (1.0, -128), "t": (0.5, 0), "u": (0.25, 0)}
    with pytest.raises(ValueError, match=r"joined values on different grids into t: \(0\.5, 0\) and \(0\.25, 0\)"):
        grids_by_tensor(grids, {"a": "t", "b": "t"})


def test_training_mode_and_mixed_options_are_refused(small_qdq, small_example, tmp_path):
    with pytest.raises(ValueError, match="training mode"):
        convert(nn.Linear(3, 3).train(), small_example, tmp_path / "x.tflite", options=TFLiteOptions())
    with pytest.raises(ValueError, match="half_precision is for float graphs"):
        convert(small_qdq, small_example, tmp_path / "x.tflite", options=TFLiteOptions(half_precision=True))
    assert not any(tmp_path.iterdir())


def test_missing_exporter_names_the_extra(small_model, small_example, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", sys)
    with pytest.raises(ImportError, match=r"not installed \(onnxscript\); run: pip install 'edge_vit\[onnx\]'"):
        to_onnx.export_onnx(small_model, small_example, tmp_path / "m.onnx")


def test_float_form_of_a_qdq_graph_keeps_weights_and_marks_grids(small_qdq, small_example, small_pictures):
    before = small_qdq(torch.from_numpy(small_pictures[:1]).float())
    scales = take_off_pairs_(small_qdq)
    targets = [str(node.target) for node in small_qdq.graph.nodes]
    assert not any("quantized_decomposed" in target for target in targets)
    assert len(scales) == targets.count("aten.linear.default") + targets.count("aten.conv2d.default")
    marks = [node.meta.get("custom", {}).get("edge_vit_grid") for node in small_qdq.graph.nodes]
    assert ("pixels", 1.0, -128) in [("pixels", *mark[1:]) for mark in marks if mark]
    after = small_qdq(torch.from_numpy(small_pictures[:1]).float())
    assert 0 < (before - after).abs().max() < 0.1 * before.abs().max()  # activations are no longer rounded


def test_marks_do_not_reach_the_graph_that_was_copied(small_qdq, small_example):
    (source,) = [node for node in small_qdq.graph.nodes if node.op == "placeholder"]
    source.meta["custom"] = {"mine": 1}
    take_off_pairs_(owned_graph(small_qdq, small_example))
    assert source.meta["custom"] == {"mine": 1}


@needs_onnx
def test_exporting_twice_is_the_same_and_changes_nothing(small_qdq, small_example, tmp_path):
    before, nodes = state(small_qdq), str(small_qdq.graph)
    first, second = (to_onnx.export_onnx(small_qdq, small_example, tmp_path / f"{i}.onnx") for i in range(2))
    assert first.grids == second.grids and first.weight_scales.keys() == second.weight_scales.keys()
    assert first.path.read_bytes() == second.path.read_bytes()
    assert is_state(small_qdq, before) and str(small_qdq.graph) == nodes


@needs_onnx
def test_operator_without_onnx_form_is_named(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_y0(x)

    with pytest.raises(ValueError, match=r"this model has no ONNX form: .*bessel_y0"):
        to_onnx.export_onnx(Odd().eval(), (torch.ones(1, 4, 4, 3),), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    assert logging.root.manager.disable == 0


def test_onnx2tf_that_fails_is_reported(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ERROR: OP Foo is not supported' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ValueError, match="onnx2tf has no lowering for this model: ERROR: OP Foo is not supported"):
        run_onnx2tf(python, tmp_path / "m.onnx")
    python.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(ValueError, match="onnx2tf has no lowering for this model: exit status 0"):
        run_onnx2tf(python, tmp_path / "m.onnx")


@pytest.fixture(scope="module")
def onnx2tf():
    from converters.environment import find_environment
    from converters.onnx2tf.environment import RECIPE

    try:
        return find_environment(RECIPE)
    except ImportError as e:
        pytest.skip(f"no environment for onnx2tf: {e}")


@needs_onnx
@pytest.mark.slow
@pytest.mark.needs_tflite
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_whole_way(
    precision, onnx2tf, small_model, small_qdq, small_example, small_pictures, torch_logits, sqnr_db, tmp_path
):
    from converters.tflite.inspect import inspect
    from converters.tflite.run import load

    model = small_model if precision == "fp32" else small_qdq
    path = tmp_path / "small.tflite"
    result = convert(model, small_example, path, options=TFLiteOptions())
    assert [p.name for p in tmp_path.iterdir()] == ["small.tflite"]
    assert result.precision == precision and result.tool_versions["onnx2tf"] == onnx2tf.versions["onnx2tf"]
    call = load(path, 1)
    outputs = np.concatenate([call(picture[None]) for picture in small_pictures])
    assert sqnr_db(torch_logits(model, small_pictures), outputs) > (100 if precision == "fp32" else 30)
    counts = inspect(path).counts
    if precision == "int8":
        assert counts["SOFTMAX"] == {"float32": 1} and counts["BATCH_MATMUL"] == {"int8": 2}
        assert counts["CONV_2D"] == {"int8": 2} and counts["FULLY_CONNECTED"] == {"int8": 5}
        assert not result.details["slow_path"]
