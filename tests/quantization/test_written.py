"""Written files measured from inside: what a runtime adds is told from what int8 costs anyway."""

import importlib

import numpy as np
import pytest
import small_network
import torch

from calibration.preprocess import Preprocess
from converters.passes.grids import read as read_graph
from converters.values import read_values
from edge_vit.deployment.targets import TARGETS, Request
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.quantization.pipeline import FloatModel, pixel_batches, prepare_int8
from edge_vit.quantization.quantizer import quantize_graph
from edge_vit.quantization.simulate import Simulation
from edge_vit.quantization.written import compare_written

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # inside the SDKs


@pytest.fixture(scope="module")
def made():
    """The small network of tests/converters: simulation, qdq graph, pictures."""
    from tests.converters.conftest import SIDE, SmallNet, pictures

    torch.manual_seed(0)
    preprocess = Preprocess(resolution=SIDE)
    module = PixelInput(SmallNet(), SIDE, preprocess.mean, preprocess.std).eval()
    float_model = FloatModel(module=module, preprocess=preprocess, classes=[], weights="of a test", notes=())
    shown = pictures(8)
    prepared = prepare_int8(float_model, pixel_batches(shown))
    return Simulation(prepared), quantize_graph(prepared.graph, prepared.plan, prepared.ranges), shown


@pytest.mark.parametrize(
    "suffix",
    [
        pytest.param(".tflite", marks=pytest.mark.needs_tflite),
        pytest.param(".mlpackage", marks=pytest.mark.needs_coreml),
        pytest.param(".onnx", marks=pytest.mark.needs_onnx),
    ],
)
def test_every_value_of_a_file_is_read_and_none_is_off(suffix, made, tmp_path):
    simulation, quantized, pictures = made
    spec = next(spec for spec in TARGETS.values() if spec.suffix == suffix)
    path, example = tmp_path / f"small{suffix}", (torch.zeros(1, *pictures.shape[1:]),)
    options = spec.options(Request(precision="int8"))
    result = importlib.import_module(spec.module).convert(quantized, example, path, options=options)
    small_network.check(path)
    dtype = result.details.get("input_dtype", "uint8")
    operators, run = read_values(path)
    found = compare_written(simulation, quantized, operators, lambda picture: run(picture.astype(dtype)), pictures[:4])
    assert len(found.layers) == len(read_graph(quantized)) and not found.missing and not found.extra
    for layer in found.layers:
        assert layer.steps <= 1 and layer.off < 0.15 and layer.graph_db > 30.0, layer
        assert layer.quantization_db > 15.0 and layer.float_db > 15.0, layer


def test_a_faulty_kernel_is_named_and_what_follows_it_is_not(made):
    """Let one linear layer come out five steps too high: it alone is off from its inputs, all later values suffer."""
    simulation, quantized, pictures = made
    operators = read_graph(quantized)
    nodes = {node.name: node for node in simulation.order}
    from converters.passes.grids import operators_of

    places = [nodes[node.name] for _, node in operators_of(quantized)]
    culprit = next(node for node in places if simulation.plan.names[node] == "model.query.linear.0")

    def run(picture):
        images = torch.from_numpy(picture).float()
        every = [layer.name for layer in simulation.layers]
        right = simulation.run(images, every)[culprit]
        wrong = {culprit: right + 5 * simulation.scale_of(culprit)}
        values = simulation.run(images, every, given=wrong) | wrong
        return tuple(values[node].numpy() for node in places)

    found = compare_written(simulation, quantized, operators, run, pictures[:2])
    off = {layer.name: layer.steps for layer in found.layers if layer.steps}
    assert off == {"model.query.linear.0": 5}
    (layer,) = [one for one in found.layers if one.name == "model.query.linear.0"]
    assert layer.off == 1.0 and layer.float_db < layer.quantization_db - 3.0
    (product,) = [one for one in found.layers if one.name == "model.bmm.0"]
    assert product.steps == 0 and product.graph_db < 30.0, "it only carries the fault on"


def test_operators_that_one_side_lacks_are_named(made):
    simulation, quantized, _ = made
    operators = read_graph(quantized)[1:]
    found = compare_written(simulation, quantized, operators, lambda picture: [np.zeros(0)] * len(operators), ())
    assert len(found.missing) == 1 and not found.extra and found.num_images == 0


def test_a_delegate_keeps_its_values(tmp_path):
    with pytest.raises(ValueError, match=r"m\.pte: no reader of values inside a file for '\.pte'"):
        read_values(tmp_path / "m.pte")
