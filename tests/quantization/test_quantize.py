"""PTQ and QAT give the same qdq graph, close to the float model, with real integers in it."""

import pytest
import torch
from graphs import is_state, state

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, normalise
from converters.sqnr import sqnr_db
from edge_vit.quantization.checkpoint import load_into_graph_, pack, quantized_weight_names, ranges_from, unpack
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.plan import make_plan
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.qat import QatModel
from edge_vit.quantization.quantizer import quantize_graph

SIDE = 64


def outputs(module, batches):
    with torch.no_grad():
        return torch.cat([module(batch) for batch in batches]).numpy()


@pytest.fixture(scope="module")
def qdq(pixel_model, ranges):
    exported = export_graph(pixel_model, torch.zeros(1, SIDE, SIDE, 3))
    return quantize_graph(exported, make_plan(exported), ranges)


def test_quantized_graph_is_close_and_not_equal(pixel_model, qdq, batches):
    noise = sqnr_db(outputs(pixel_model, batches), outputs(qdq, batches))
    assert 18.0 < noise < 60.0, "close to float, but not float"


def test_every_gemm_reads_dequantized_int8(qdq):
    """Follow each weight and activation of the qdq graph back to a dequantize."""
    gemms = [n for n in qdq.graph.nodes if n.target in (torch.ops.aten.linear.default, torch.ops.aten.conv2d.default)]
    assert len(gemms) == 71
    for node in gemms:
        assert "dequantize_per_tensor" in str(node.args[0].target)
        assert "dequantize_per_channel" in str(node.args[1].target)


def test_the_graph_that_was_given_stays_as_it_is(graph, qdq, ranges, batches):
    """Annotations and observers go into a copy: the same graph can be quantized again, with the same result."""
    plan = make_plan(graph)
    targets, metas = [str(n.target) for n in graph.graph.nodes], [set(n.meta) for n in graph.graph.nodes]
    before, expected = state(graph), outputs(graph, batches[:2])
    first, second = quantize_graph(graph, plan, ranges), quantize_graph(graph, plan, ranges)
    assert [str(n.target) for n in graph.graph.nodes] == targets and [set(n.meta) for n in graph.graph.nodes] == metas
    assert is_state(graph, before) and (outputs(graph, batches[:2]) == expected).all()
    assert is_state(second, state(first)) and str(first.graph) == str(second.graph) == str(qdq.graph)


def test_mse_ranges_beat_min_max_where_outliers_are(pixel_model, pictures, graph):
    plan = make_plan(graph)
    loud = [torch.from_numpy(picture[None]).float() for picture in pictures]
    by_method = {method: calibrate(graph, plan, loud, method) for method in ("mse", "min_max")}
    float_logits = outputs(pixel_model, loud)
    noise = {}
    for method, ranges in by_method.items():
        exported = export_graph(pixel_model, loud[0])
        noise[method] = sqnr_db(float_logits, outputs(quantize_graph(exported, make_plan(exported), ranges), loud))
    narrower = sum(by_method["mse"][name].scale < by_method["min_max"][name].scale for name in by_method["mse"])
    assert narrower > 0.5 * len(by_method["mse"]) and noise["mse"] > noise["min_max"] - 1.0, noise


def test_missing_ranges_are_counted_and_named(graph, ranges):
    fewer = {name: value for name, value in ranges.items() if name != "model.head.linear.0"}
    with pytest.raises(ValueError, match=r"1 of \d+ ranges are missing \(model\.head\.linear\.0"):
        quantize_graph(graph, make_plan(graph), fewer)


def test_calibration_without_pictures_is_refused(graph):
    with pytest.raises(ValueError, match="no calibration input"):
        calibrate(graph, make_plan(graph), [])


@pytest.fixture(scope="module")
def qat_model(pixel_model, ranges):
    exported = export_graph(pixel_model, torch.zeros(2, SIDE, SIDE, 3), dynamic_batch=True)
    return QatModel(exported, make_plan(exported), ranges, IMAGENET_MEAN, IMAGENET_STD)


def test_fake_quantization_computes_what_the_qdq_graph_does(qat_model, qdq, pictures, batches):
    images = torch.from_numpy(normalise(pictures, Preprocess(resolution=SIDE)))
    with torch.no_grad():
        trained = qat_model(images).numpy()
    # Rounding differs where a float sum falls on a boundary between two integers; the noise of that is far below
    # the noise of quantization itself.
    assert sqnr_db(outputs(qdq, batches), trained) > 25.0


def test_weights_and_ranges_learn_until_frozen(qat_model, pictures):
    images = torch.from_numpy(normalise(pictures[:4], Preprocess(resolution=SIDE)))
    qat_model(images).square().mean().backward()
    fake_quants = qat_model.fake_quants()
    learning = {name for name, module in fake_quants.items() if module.log_growth.grad is not None}
    fixed = {name for name, module in fake_quants.items() if not module.log_growth.requires_grad}
    assert learning and not learning & fixed and learning | fixed == set(fake_quants)
    keys = [module for name, module in fake_quants.items() if name.endswith("attn.k.linear.0")]
    assert len(keys) == 11 and all(module.zero_point.grad is None for module in keys)
    assert qat_model.graph.get_parameter("model.head.weight").grad.abs().sum() > 0
    qat_model.zero_grad()
    before = qat_model.ranges()
    qat_model.freeze_ranges()
    qat_model(images).square().mean().backward()
    assert all(module.log_growth.grad is None for module in fake_quants.values())
    assert qat_model.ranges() == before


def test_checkpoint_gives_back_the_same_integers(qat_model, pixel_model, ranges, batches):
    """Pack as int8, unpack, load into a fresh graph: the same integers, and outputs equal up to flips of rounding."""
    first = export_graph(pixel_model, batches[0])
    plan = make_plan(first)
    names = quantized_weight_names(first, plan)
    assert len(names) == 71
    stored = pack({name: value.detach() for name, value in first.named_parameters()}, names)
    assert all(stored[name].dtype == torch.int8 and int(stored[name].abs().max()) == 127 for name in names)
    metadata = {"ranges": {name: {"scale": r.scale, "zero_point": r.zero_point} for name, r in ranges.items()}}
    second = export_graph(pixel_model, batches[0])
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.zero_()
    load_into_graph_(second, stored, "stored")
    expected = outputs(quantize_graph(first, plan, ranges), batches[:4])
    actual = outputs(quantize_graph(second, make_plan(second), ranges_from(metadata)), batches[:4])
    assert sqnr_db(expected, actual) > 30.0
    again = pack(unpack(stored), names)
    assert all(torch.equal(again[name], stored[name]) for name in names), "stored integers survive another round"


def test_foreign_checkpoints_are_refused(graph):
    with pytest.raises(ValueError, match="names differ"):
        load_into_graph_(graph, {"a": torch.zeros(1)}, "foreign.safetensors")
    with pytest.raises(ValueError, match="ranges cannot be read"):
        ranges_from({"ranges": {"input": {"scale": 1.0}}})
