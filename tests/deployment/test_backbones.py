"""`convert --features`: every stage's map as a named output, checked one by one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import manifest as manifests
from converters.artefact import check_artefact, run_maps
from edge_vit import api, convert
from edge_vit.deployment.android import check
from edge_vit.deployment.request import ConvertConfig
from edge_vit.models.registry import get_spec

FORMATS = [
    pytest.param("tflite", marks=pytest.mark.needs_tflite),
    pytest.param("executorch", marks=pytest.mark.needs_executorch),
    pytest.param("coreml", marks=pytest.mark.needs_coreml),
    pytest.param("onnx", marks=pytest.mark.needs_onnx),
]


def check_maps(result, name: str, size: tuple[int, int]) -> None:
    """Assert that names, shapes, channels and strides are the family's, and that the file gives such maps."""
    manifest, config = result.manifest, get_spec(name).config
    assert manifest.classes == () and manifest.output.kind == "features"
    assert [entry.name for entry in manifest.features] == [f"stage_{i}" for i in range(len(config.channels))]
    assert [entry.channels for entry in manifest.features] == list(config.channels)
    assert [entry.stride for entry in manifest.features] == list(config.strides)
    for entry in manifest.features:
        assert entry.shape == (1, entry.channels, *(-(-side // entry.stride) for side in size))
    assert manifest.verification.sqnr_db == min(entry.sqnr_db for entry in manifest.features)
    assert manifest.verification.top1_agreement is None
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    maps = run_maps(result.artefact, pixels)
    assert [found.shape for found in maps] == [(2, *entry.shape[1:]) for entry in manifest.features]
    assert all(np.abs(found[0] - found[1]).max() > 0 for found in maps)


@pytest.fixture(scope="module", params=FORMATS)
def small(request, tmp_path_factory):
    """A LeViT with random weights, on rectangles."""
    folder = tmp_path_factory.mktemp(request.param)
    config = ConvertConfig(
        model="levit_128s", target=request.param, weights="random", features=True, resolution=(64, 96),
        output_dir=folder,
    )  # fmt: skip
    (result,) = api.export(config).results
    return result


def test_float_maps(small):
    check_maps(small, "levit_128s", (64, 96))
    assert small.artefact.name.startswith("levit_128s_features_fp32.")
    assert all(entry.sqnr_db > (40 if small.manifest.target == "coreml" else 90) for entry in small.manifest.features)
    lines = convert.report(small)
    assert any(line.startswith("  stage_2        [1, 384, 1, 2], stride 64: ") for line in lines)
    assert not any("top-1" in line for line in lines)


def test_what_needs_classes_refuses_it(small):
    with pytest.raises(ValueError, match="gives feature maps, no classes; convert without --features"):
        check_artefact(small.artefact)
    if small.manifest.target in ("tflite", "executorch"):
        with pytest.raises(ValueError, match="gives feature maps; the app classifies, convert without --features"):
            check(small.artefact)


def test_the_outputs_have_their_names(small):
    """As each format's own tools read them."""
    names = [entry.name for entry in small.manifest.features]
    if small.manifest.target == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(small.artefact))
        assert [entry["name"] for entry in interpreter.get_output_details()] == names
        (signature,) = interpreter.get_signature_list().values()
        assert signature == {"inputs": ["pixels"], "outputs": names}
    elif small.manifest.target == "executorch":
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(small.artefact.read_bytes())
        assert program.load_method("get_outputs").execute([]) == names
        assert program.load_method("get_output_kind").execute([]) == ["features"]
    elif small.manifest.target == "onnx":
        import onnx

        assert [output.name for output in onnx.load(small.artefact).graph.output] == names
    else:
        from converters.coreml.mil.program import read_program

        assert list(read_program(small.artefact).outputs) == names


def test_an_older_manifest_loads_and_wrong_ones_do_not(small, tmp_path):
    data = json.loads(small.manifest_path.read_text())
    del data["features"]
    data |= {"classes": [{"id": "a", "name": "a"}]}
    data["output"] |= {"kind": "logits", "shape": [1, 1]}
    assert manifests.Manifest.from_json(json.dumps(data)).features == ()
    data["output"]["kind"] = "features"
    with pytest.raises(ValueError, match="0 feature maps for an output of kind features"):
        manifests.Manifest.from_json(json.dumps(data))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0", "fastervit_edge_0"])
@pytest.mark.parametrize("target", FORMATS)
def test_int8_maps_of_every_family(target: str, name: str, tmp_path: Path):
    """With the embedded integers: the file against its graph, and no more noise than these leave in the maps."""
    config = ConvertConfig(model=name, target=target, precision="int8", features=True, output_dir=tmp_path)
    (result,) = api.export(config, lambda line: print(line, file=sys.stderr)).results
    check_maps(result, name, (224, 224))
    assert result.sqnr_to_graph_db > 20
    assert all(entry.sqnr_db > 10 for entry in result.manifest.features)
