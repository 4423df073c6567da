"""Calibration without training as good as it gets."""

import numpy as np
import pytest
import torch

from calibration.preprocess import Preprocess
from converters.sqnr import sqnr_db
from edge_vit.quantization import best
from edge_vit.quantization.best import find_best, find_wide, round_weights
from edge_vit.quantization.half_scales import on_half_grid
from edge_vit.quantization.pipeline import FloatModel, build_quantized, pixel_batches, run_pixels
from edge_vit.quantization.processors import NPU


@pytest.fixture(scope="module")
def float_model():
    """The small network of tests/converters, with one activation whose largest value stands alone."""
    from edge_vit.layers.pixel_input import PixelInput
    from tests.converters.conftest import SIDE, SmallNet

    torch.manual_seed(0)
    preprocess = Preprocess(resolution=SIDE)
    module = PixelInput(SmallNet(), SIDE, preprocess.mean, preprocess.std).eval()
    return FloatModel(module=module, preprocess=preprocess, classes=[], weights="of a test", notes=())


@pytest.fixture(scope="module")
def shown():
    from tests.converters.conftest import pictures

    return pictures(48)


@pytest.fixture(scope="module")
def found(float_model, shown):
    return find_best(float_model, shown[:32])


def test_no_step_is_taken_that_makes_it_worse(found):
    assert list(found.noise_db) == ["mse", "range by range", "weights and biases", "biases"]
    assert sum(found.methods.values()) == len(found.ranges) and set(found.methods) <= {
        "mse", "min_max", "entropy", "percentile 99.9", "percentile 99.99", "percentile 99.999",
    }  # fmt: skip
    taken = found.noise_db["range by range"] if set(found.methods) != {"mse"} else found.noise_db["mse"]
    assert taken >= found.noise_db["mse"]
    corrected = found.noise_db["weights and biases"] if found.weights else found.noise_db["biases"]
    assert not found.biases or corrected >= taken


def test_it_is_better_than_min_and_max_on_pictures_it_never_saw(float_model, shown):
    floats = run_pixels(float_model.module, shown[32:])
    decibels = {}
    for method in ("min_max", "best"):
        graph = build_quantized(float_model, pixel_batches(shown[:32]), method).graph
        decibels[method] = sqnr_db(floats, run_pixels(graph, shown[32:]))
    assert decibels["best"] > decibels["min_max"]


def test_the_record_says_what_was_chosen(float_model, shown, found):
    made = build_quantized(float_model, pixel_batches(shown[:32]), "best")
    assert made.precision == "int8_ptq" and made.summary["ranges_from"] == "calibration, best"
    assert made.summary["best"] == {
        "ranges_by": found.methods, "weights_rounded": len(found.weights), "biases_corrected": len(found.biases),
        "held_back_db": found.noise_db,
    }  # fmt: skip


def test_a_shift_that_int8_makes_is_corrected(float_model, shown, monkeypatch):
    """Let one layer's integers be off by a constant: the correction takes just that out of its bias."""
    from edge_vit.quantization.pipeline import prepare_int8
    from edge_vit.quantization.simulate import Simulation

    made = prepare_int8(float_model, pixel_batches(shown[:32], 8), batch=2, is_free_batch=True)
    simulation = Simulation(made)
    images = torch.from_numpy(shown[:32]).float()
    node = next(n for n in made.plan.int8_nodes if made.plan.names[n] == "model.query.linear.0")
    bias = dict(made.graph.named_parameters())[str(node.args[2].target)]
    exact = simulation.run(images, ())
    monkeypatch.setattr(simulation, "run", lambda *_: exact)  # what the float network gave before
    with torch.no_grad():
        bias += 0.5
    runner = best._Correcting(simulation, images, is_rounding=False)
    np.testing.assert_allclose(runner.deltas[node].numpy(), -0.5, atol=0.02)
    others = [delta.abs().max() for other, delta in runner.deltas.items() if other is not node]
    assert max(float(one) for one in others) < 0.1
    corrected = bias.clone()
    runner.undo_()
    torch.testing.assert_close(bias, corrected + 0.5, atol=0.03, rtol=0)


@pytest.mark.parametrize("shape", [(6, 12), (6, 3, 2, 2)])
def test_rounding_goes_by_what_it_does_to_the_output(shape):
    """On correlated inputs it errs less than the nearest integers do, on the same grid."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(shape, generator=generator)
    nearest = on_half_grid(exact, per_channel=True)
    rows = torch.randn(200, 4, generator=generator) @ torch.randn(4, 12, generator=generator)
    rounded = round_weights(exact, nearest, (rows.T @ rows / len(rows))[None])

    def error(weight):
        return float((rows @ (weight - exact).flatten(1).T).square().sum())

    assert error(rounded) < 0.5 * error(nearest)
    scale = nearest.flatten(1).abs().amax(1) / 127
    steps = rounded.flatten(1) / scale[:, None]
    assert float((steps - steps.round()).abs().max()) < 1e-3 and torch.equal(
        on_half_grid(rounded, per_channel=True), rounded
    )


@pytest.mark.parametrize("kind", ["depthwise", "two groups", "linear", "convolution"])
def test_every_layer_is_rounded_by_the_inputs_that_it_has(kind):
    """The mean squared change of the output is what the moments say, group by group."""
    from edge_vit.quantization.graph import ATEN, export_graph, get_tensor

    torch.manual_seed(0)
    made = {
        "depthwise": torch.nn.Conv2d(6, 6, 3, 2, 1, groups=6), "two groups": torch.nn.Conv2d(6, 4, 3, groups=2),
        "linear": torch.nn.Linear(6, 5), "convolution": torch.nn.Conv2d(6, 5, 2, bias=False),
    }[kind]  # fmt: skip
    x = torch.randn(3, 9, 9, 6) if kind == "linear" else torch.randn(3, 6, 9, 9)
    graph = export_graph(made.eval(), x)
    node = next(n for n in graph.graph.nodes if n.target in (ATEN.linear.default, ATEN.conv2d.default))
    exact = get_tensor(graph, node.args[1]).detach()
    moments = best._moments(node, x)
    other = exact + 0.1 * torch.randn(exact.shape)
    change = (other - exact).flatten(1).view(len(moments), -1, moments.shape[1]).double()
    told = (change @ moments * change).sum((1, 2)).sum()
    with torch.no_grad():
        before = made(x)
        made.weight.copy_(other)
        axis = made(x).dim() - 1 if kind == "linear" else 1
        apart = (made(x) - before).square().movedim(axis, 0).flatten(1).mean(1).sum()
    assert float(told) == pytest.approx(float(apart), rel=1e-4)


def test_the_default_takes_up_shifts_and_its_record_gives_them_back(shown):
    """In a stack of depthwise and pointwise convolutions, whose few weights a channel shift what they give."""
    from torch import nn

    from edge_vit.quantization.own_float import from_module
    from edge_vit.quantization.pipeline import BIASES, prepare_int8, unpacked

    torch.manual_seed(2)
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6()]
    for _ in range(4):
        layers += [nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1), nn.ReLU6()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    float_model = from_module(net.eval(), shown.shape[1:3])
    floats, made = run_pixels(float_model.module, shown[32:]), {}
    for method in ("mse", "corrected"):
        made[method] = build_quantized(float_model, pixel_batches(shown[:32]), method)
    decibels = {method: sqnr_db(floats, run_pixels(one.graph, shown[32:])) for method, one in made.items()}
    assert decibels["corrected"] > decibels["mse"] + 0.5, decibels
    summary = made["corrected"].summary
    told = summary["corrected"]
    assert told["held_back_db"]["after"] > told["held_back_db"]["before"] and told["biases_corrected"] > 3
    again = prepare_int8(
        float_model, None, known_ranges=made["corrected"].ranges,
        known_biases={name: unpacked(text) for name, text in summary[BIASES].items()},
    )  # fmt: skip
    from edge_vit.quantization.quantizer import quantize_graph

    graph = quantize_graph(again.graph, again.plan, again.ranges)
    assert np.array_equal(run_pixels(graph, shown[32:]), run_pixels(made["corrected"].graph, shown[32:]))


def test_a_layer_in_float_has_its_own_bias(float_model, shown):
    from edge_vit.quantization.pipeline import prepare_int8
    from edge_vit.quantization.simulate import Simulation

    images = torch.from_numpy(shown[:4]).float()
    for method in ("corrected", "best"):
        made = prepare_int8(float_model, pixel_batches(shown[:32], 8), method, 2, is_free_batch=True)
        simulation = Simulation(made)
        exact = simulation.logits(simulation.run(images, ())).numpy()
        np.testing.assert_allclose(exact, run_pixels(float_model.module, shown[:4]), atol=1e-5)


def test_too_few_pictures_to_hold_any_back_correct_nothing(float_model, shown):
    made = build_quantized(float_model, pixel_batches(shown[:3]), "corrected")
    assert made.summary["corrected"] == {"biases_corrected": 0, "held_back_db": {}}


def test_a_handful_of_pictures_is_refused(float_model, shown):
    with pytest.raises(ValueError, match="3 calibration pictures are too few for --calib-method best; give 4 or more"):
        find_best(float_model, shown[:3])


def test_with_activations_of_16_bits_only_the_weights_make_noise(float_model, shown):
    """Ranges go beyond what was seen; rounding by the layers' outputs leaves less noise than the nearest integers."""
    found = find_wide(float_model, shown[:32], NPU)
    assert list(found.noise_db) == ["nearest", "weights and biases", "biases"] and found.weights and found.biases
    assert found.noise_db["weights and biases"] > found.noise_db["nearest"]
    floats, made = run_pixels(float_model.module, shown[32:]), {}
    for method in ("min_max", "best"):
        made[method] = build_quantized(float_model, pixel_batches(shown[:32]), method, processor=NPU, is_wide=True)
        assert made[method].precision == "int16_ptq"
    assert made["best"].summary["best"]["held_back_db"] == found.noise_db
    decibels = {method: sqnr_db(floats, run_pixels(one.graph, shown[32:])) for method, one in made.items()}
    assert decibels["best"] > decibels["min_max"] + 1.0, decibels
    for name, grid in made["best"].ranges.items():
        assert 1.5 < grid.scale / made["min_max"].ranges[name].scale < 2.1, name
