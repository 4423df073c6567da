"""A conversion up to the graph: what it reads, and what it says of the weights."""

import shutil

import pytest
from opens import counted_opens

from converters.checksum import sha256_file
from edge_vit.deployment import make
from edge_vit.deployment.checks import choose_weights
from edge_vit.deployment.request import ConvertConfig
from edge_vit.models.sources import embedded_path

pytestmark = pytest.mark.needs_tflite


def test_a_quantized_checkpoint_and_its_float_one_are_opened_once(tmp_path):
    paths = [tmp_path / embedded_path("efficientvit_m0", is_quantized).name for is_quantized in (True, False)]
    for path in paths:
        shutil.copy(embedded_path(path.stem.rpartition("_")[0], "int8" in path.name), path)
    quantized, floats = paths
    request = ConvertConfig(model="efficientvit_m0", target="tflite", precision="int8", weights=str(quantized))
    with counted_opens(*paths) as opens:
        source = choose_weights(
            request.model, request.weights, is_int8=True, has_calibration=False, resolution=None, takes_raw=False
        )
        model = make._prepare(request, source, None, None, lambda line: None)
    assert opens == {quantized: 1, floats: 1}
    assert (model.weights.source, model.weights.sha256) == (str(floats), sha256_file(floats))
    assert model.quantization["sha256"] == sha256_file(quantized)
    assert model.quantization["ranges_from"] == str(quantized) and model.quantized.precision == "int8_qat"
