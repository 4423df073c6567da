"""The layer that loses accuracy is named."""

import numpy as np
import pytest
import torch

from calibration.preprocess import Preprocess
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.pipeline import FloatModel, prepare_int8
from edge_vit.quantization.plan import QParams, make_plan
from edge_vit.quantization.quantizer import quantize_graph
from edge_vit.quantization.sensitivity import layer_sqnr, measure_layers
from edge_vit.quantization.simulate import Simulation


def test_a_ruined_range_is_found(pixel_model, ranges, pictures):
    """Give one layer a grid far too coarse: it must stand first in the list."""
    culprit = "model.stages.1.blocks.1.mlp.fc1.linear.0"
    ruined = dict(ranges)
    ruined[culprit] = QParams(scale=50.0 * ranges[culprit].scale, zero_point=ranges[culprit].zero_point)
    exported = export_graph(pixel_model, torch.zeros(1, 64, 64, 3))
    losses = layer_sqnr(pixel_model, quantize_graph(exported, make_plan(exported), ruined), pictures[:4])
    assert losses[0][0] == culprit and losses[0][1] > 15.0, losses[:4]
    assert len(losses) > 150


@pytest.fixture
def float_model(pixel_model):
    return FloatModel(
        module=pixel_model, preprocess=Preprocess(resolution=64), classes=[], weights="of a test", notes=()
    )


@pytest.fixture
def calibrated(float_model, batches):
    return prepare_int8(float_model, batches)


def test_all_layers_in_int8_give_what_the_qdq_graph_gives(calibrated, batches):
    simulation = Simulation(calibrated)
    quantized = quantize_graph(calibrated.graph, calibrated.plan, calibrated.ranges)
    every = [layer.name for layer in simulation.layers]
    for batch in batches[:3]:
        with torch.no_grad():
            expected = quantized(batch)
        assert torch.equal(simulation.logits(simulation.run(batch, every)), expected)


def test_no_layer_in_int8_gives_what_the_float_model_gives(calibrated, pixel_model, batches):
    simulation = Simulation(calibrated)
    with torch.no_grad():
        expected = pixel_model(batches[0])
    torch.testing.assert_close(simulation.logits(simulation.run(batches[0], ())), expected, rtol=1e-4, atol=1e-4)


def test_every_int8_operator_belongs_to_one_layer(calibrated):
    operators = [node for layer in Simulation(calibrated).layers for node in layer.operators]
    assert sorted(map(str, operators)) == sorted(map(str, calibrated.plan.int8_nodes))


def test_a_run_that_starts_midway_gives_what_a_whole_one_gives(calibrated, batches):
    simulation = Simulation(calibrated)
    exact = simulation.run(batches[0], ())
    for layer in simulation.layers[3::40]:
        whole = simulation.logits(simulation.run(batches[0], (layer.name,)))
        assert torch.equal(simulation.logits(simulation.run(batches[0], (layer.name,), exact, layer.first)), whole)


def test_a_planted_fault_is_the_first_row(calibrated, pictures):
    """A range eight times too narrow clips: that layer costs most, alone in int8 and as the one left in float."""
    culprit = "model.stages.1.blocks.1.add.1"
    grid = calibrated.ranges[culprit]
    calibrated.ranges[culprit] = QParams(scale=grid.scale / 8, zero_point=grid.zero_point)
    pairs = [(picture[None], np.array([-1])) for picture in pictures[:3]]
    found = measure_layers(Simulation(calibrated), pairs)
    first = found.layers[0]
    assert first.name == culprit and first.operators == (culprit,)
    assert first.clipped > 0.1 and first.own_db < 10.0 < found.layers[1].own_db
    assert first.loss_without == min(layer.loss_without for layer in found.layers) < 0.0
    assert found.float_top1 is None and found.num_images == 3


def test_channels_that_stand_out_are_counted(calibrated, pictures):
    """Scale a few rows of a weight: just these channels are outliers."""
    node = next(n for n in calibrated.plan.int8_nodes if calibrated.plan.names[n].endswith("mlp.fc1.linear.0"))
    name = calibrated.plan.names[node]
    (constants,) = [calibrated.unrounded[name]]
    constants[1][[3, 7]] *= 100.0
    found = measure_layers(Simulation(calibrated), [(pictures[:1], np.array([2]))])
    (layer,) = [one for one in found.layers if name in one.operators]
    assert layer.outliers == 2 and layer.channels == constants[1].shape[0]
    assert found.float_top1 in (0.0, 100.0)


def test_no_pictures_are_refused(calibrated):
    with pytest.raises(ValueError, match="no pictures to measure on"):
        measure_layers(Simulation(calibrated), [])
