"""Calibration without training as good as it gets."""

import numpy as np
import pytest
import torch

from calibration.preprocess import Preprocess
from converters.sqnr import sqnr_db
from edge_vit.quantization import best
from edge_vit.quantization.best import find_best
from edge_vit.quantization.pipeline import FloatModel, build_quantized, pixel_batches, run_pixels


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
    assert list(found.noise_db) == ["mse", "range by range", "biases"]
    assert sum(found.methods.values()) == len(found.ranges) and set(found.methods) <= {
        "mse", "min_max", "entropy", "percentile 99.9", "percentile 99.99", "percentile 99.999",
    }  # fmt: skip
    taken = found.noise_db["range by range"] if set(found.methods) != {"mse"} else found.noise_db["mse"]
    assert taken >= found.noise_db["mse"]
    assert not found.biases or found.noise_db["biases"] >= taken


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
        "ranges_by": found.methods, "biases_corrected": len(found.biases), "held_back_db": found.noise_db,
    }  # fmt: skip


def test_a_shift_that_int8_makes_is_corrected(float_model, shown, monkeypatch):
    """Let one layer's integers be off by a constant: the correction takes just that out of its bias."""
    from edge_vit.quantization.pipeline import prepare_int8
    from edge_vit.quantization.simulate import Simulation

    made = prepare_int8(float_model, pixel_batches(shown[:32], 8), batch=2, is_free_batch=True)
    simulation = Simulation(made)
    images = torch.from_numpy(shown[:32]).float()
    exact = simulation.run(images, ())
    node = next(n for n in made.plan.int8_nodes if made.plan.names[n] == "model.query.linear.0")
    bias = dict(made.graph.named_parameters())[str(node.args[2].target)]
    with torch.no_grad():
        bias += 0.5
    runner = best._Correcting(simulation, exact)
    with torch.no_grad():
        runner.run(images)
    np.testing.assert_allclose(runner.deltas[node].numpy(), -0.5, atol=0.02)
    others = [delta.abs().max() for other, delta in runner.deltas.items() if other is not node]
    assert max(float(one) for one in others) < 0.1


def test_a_handful_of_pictures_is_refused(float_model, shown):
    with pytest.raises(ValueError, match="3 calibration pictures are too few for --calib-method best; give 4 or more"):
        find_best(float_model, shown[:3])
