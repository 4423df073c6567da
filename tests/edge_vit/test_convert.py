"""The convert command on a small LeViT: real files, run in LiteRT, described, and nothing half-written."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from opens import counted_opens
from PIL import Image

from calibration.preprocess import Preprocess, load_pixels
from converters import manifest as manifests
from converters.artefact import open_artefact, softmax
from converters.checksum import sha256_file
from converters.tflite.inspect import inspect
from edge_vit import api, convert
from edge_vit.deployment.request import ConvertConfig
from edge_vit.evaluation.comparison import find_reference, load_reference
from edge_vit.models.names import size_of

pytestmark = pytest.mark.needs_tflite
SMALL = ["levit_128s", "--target", "tflite", "--resolution", "96"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calib")
    rng = np.random.default_rng(0)
    for i in range(12):
        blocks = rng.integers(0, 256, (8, 8, 3)).repeat(10, 0).repeat(12, 1).astype(np.uint8)
        Image.fromarray(blocks).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A synthetic official checkpoint: unlike fresh weights its logits depend on the picture."""
    import torch

    spec = importlib.util.spec_from_file_location("fill", Path(__file__).parent.parent / "goldens" / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    tensors = {key: torch.from_numpy(value) for key, value in fill.checkpoint("levit_128s").items()}
    path = tmp_path_factory.mktemp("weights") / "synthetic.pt"
    torch.save({"model": tensors}, path)
    return path


@pytest.fixture(scope="module")
def int8_and_opens(tmp_path_factory, pictures, weights):
    folder = tmp_path_factory.mktemp("int8")
    flags = ["--int8", "--weights", str(weights), "--calib", str(pictures), "--output-dir", str(folder), "--explain"]
    words = [*SMALL, *flags]
    config = vars(convert.build_parser().parse_args(words))
    config.pop("json")
    config["resolution"] = size_of(config["resolution"])
    with counted_opens(weights) as opens:
        (result,) = api.export(ConvertConfig(**config, command="test")).results
    return result, opens


@pytest.fixture(scope="module")
def int8(int8_and_opens):
    return int8_and_opens[0]


def test_the_checkpoint_is_opened_once(int8_and_opens, weights):
    result, opens = int8_and_opens
    assert opens == {weights: 1}
    assert result.manifest.weights == manifests.WeightsInfo(source=str(weights), sha256=sha256_file(weights))


def test_what_the_file_takes_is_said(int8):
    takes = "one picture at a time: a tensor of RGB pixels, uint8 NHWC [1, 96, 96, 3]"
    assert int8.manifest.input.takes == takes
    assert f"  input          {takes}" in convert.report(int8)


def test_everything_heavy_is_int8(int8):
    inspection = inspect(int8.artefact)
    for kind in ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "MUL", "MEAN", "CONCATENATION"):
        assert set(inspection.counts[kind]) == {"int8"}, kind
    assert sum(inspection.counts["FULLY_CONNECTED"].values()) == 65
    assert sum(inspection.counts["BATCH_MATMUL"].values()) == 22
    assert inspection.counts["SOFTMAX"] == {"float32": 11} and "HARD_SWISH" not in inspection.counts
    assert (inspection.quantize, inspection.dequantize) == (12, 13), "pixels in, logits out, one pair each attention"
    assert len(inspection.float_islands) == 11 and not int8.slow_path


def test_weights_are_per_channel_and_symmetric(int8):
    inspection = inspect(int8.artefact)
    for operator in inspection.operators:
        if operator.type in ("CONV_2D", "FULLY_CONNECTED"):
            weight = inspection.tensors[operator.inputs[1]]
            assert len(weight.scales) == weight.shape[0] and set(weight.zero_points) == {0}


def test_manifest_describes_the_file(int8):
    manifest = manifests.load_for(int8.artefact)
    assert manifest.precision == "int8_ptq" and manifest.input.dtype == "uint8"
    assert manifest.input.shape == (1, 96, 96, 3) and manifest.input.normalization == "inside"
    assert manifest.quantization["calibrated_on"].startswith("12 pictures of calib")
    # Pictures that ranges were chosen from never verify; there are no others in the folder.
    assert manifest.verification.data == "16 drawn pictures" and manifest.verification.num_images == 16
    assert manifest.verification.sqnr_db > 0.0
    few = "12 calibration pictures are few: ranges may be too narrow; use 32 or more"
    assert manifest.quantization["calibration_warnings"] == [few]
    assert len(manifest.quantization["ranges"]) > 150
    assert manifest.tool_versions["litert-torch"] and len(manifest.classes) == 1000


def test_file_computes_its_graph(int8, pictures):
    assert int8.sqnr_to_graph_db > 25.0
    artefact = open_artefact(int8.artefact)
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB").resize((96, 96))) for p in sorted(pictures.iterdir())])
    logits = artefact.run(pixels)
    assert logits.shape == (12, 1000) and np.isfinite(logits).all()
    assert np.abs(logits - logits[0]).max() > 0.02 * np.abs(logits).max(), "the logits depend on the picture"


def test_explain_lists_layers_by_loss(int8):
    losses = [loss for _, loss in int8.layers]
    assert losses == sorted(losses, reverse=True) and len(losses) > 150
    text = "\n".join(convert.report(int8))
    assert "float islands  11" in text and int8.layers[0][0] in text


def test_own_names_two_at_a_time_and_probabilities(tmp_path, weights, pictures):
    """The file of two rectangles at once says the user's names and gives the softmax of what torch gives."""
    names = [f"thing {i}" for i in range(1000)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    flags = ["--batch", "2", "--resolution", "64x96", "--output", "probabilities"]
    files = ["--weights", str(weights), "--output-dir", str(tmp_path), "--labels", str(tmp_path / "names.txt")]
    assert convert.main(["levit_128s", "--target", "tflite", *flags, *files]) == 0
    artefact = open_artefact(tmp_path / "levit_128s_fp32.tflite")
    manifest = artefact.manifest
    assert [label.name for label in manifest.classes] == names and manifest.classes[7].id == "n01514668"
    assert manifest.input.shape == (2, 64, 96, 3) and manifest.output.shape == (2, 1000)
    assert manifest.input.takes.startswith("2 pictures at a time") and manifest.output.kind == "probabilities"
    with zipfile.ZipFile(tmp_path / "levit_128s_fp32.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == names
    preprocess = Preprocess(**manifest.input.preprocess_fields())
    pixels = np.stack([load_pixels(path, preprocess) for path in sorted(pictures.iterdir())[:3]])
    outputs = artefact.run(pixels)
    reference = load_reference(manifest, find_reference(manifest, tmp_path))
    np.testing.assert_allclose(outputs, softmax(reference(pixels)), atol=1e-5)


def test_fp16_stores_half_and_computes_the_same(tmp_path, weights, capsys):
    flags = ["--fp16", "--weights", str(weights), "--output-dir", str(tmp_path), "--json"]
    assert convert.main([*SMALL, *flags]) == 0
    manifest = manifests.Manifest.from_json(capsys.readouterr().out)
    assert manifest == manifests.load_for(tmp_path / "levit_128s_fp16.tflite")
    assert 14.7e6 < manifest.file.num_bytes < 15.3e6, "7.37 M folded parameters, two bytes each"
    assert manifest.verification.sqnr_db > 45.0 and manifest.verification.data == "16 drawn pictures"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["levit_128s_fp16.tflite", "levit_128s_fp16.tflite.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["levit_128z", "--target", "tflite"], "unknown model 'levit_128z'; did you mean levit_128 or"),
        (["levit_128s", "--target", "tflit"], "unknown target 'tflit'; choose from"),
        ([*SMALL, "--weights", "gone.pth"], "checkpoint gone.pth does not exist"),
        ([*SMALL, "--int8", "--weights", "random"], "random: float weights carry no ranges; give calibration"),
        ([*SMALL, "--int8", "--weights", "random", "--calib", "nowhere"], "nowhere"),
        ([*SMALL, "--explain"], "--explain shows where int8 loses accuracy; add --int8"),
        (["levit_128s", "--target", "tflite", "--weights", "random", "--resolution", "50"], "resolution 50 is not"),
        ([*SMALL, "--int8", "--calib-images", "0"], "calib_images 0 is not allowed"),
        ([*SMALL, "--data-images", "0"], "data_images 0 is not allowed"),
        ([*SMALL, "--etrecord", "r.bin"], "--etrecord is ExecuTorch's; tflite writes none"),
        (["levit_128s", "--target", "coreml", "--android", "android_demo"], "--android takes what Android runs"),
        ([*SMALL, "--android", "nowhere"], "nowhere is not the app's project: it has no app/src/main"),
        (["levit_128s", "--target", "executorch", "--fp16"], "executorch has no fp16; it has fp32, int8"),
        ([*SMALL, "--backend", "tvm"], "tflite has no backend 'tvm'; it has litert-torch"),
    ],
)
def test_misuse_is_one_line_and_code_2(tmp_path, capsys, words, message):
    assert convert.main([*words, "--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0] and not captured.out
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_empty_calibration_folder_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    words = [*SMALL, "--int8", "--weights", "random", "--calib", str(tmp_path / "empty")]
    assert convert.main([*words, "--output-dir", str(tmp_path / "out")]) == 2
    assert "empty: no pictures" in capsys.readouterr().err


def test_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert convert.main([*SMALL, "--output-dir", str(tmp_path / "file" / "out")]) == 2
    assert "choose another --output-dir" in capsys.readouterr().err


def test_interrupted_conversion_leaves_nothing(tmp_path):
    """Ctrl-C in the middle of lowering."""
    command = [sys.executable, "-m", "edge_vit.convert", *SMALL, "--weights", "random", "--output-dir", str(tmp_path)]
    # A test run in the background ignores SIGINT and its children inherit that; a user's terminal does not.
    heeding = ["env", "--default-signal=INT", *command]
    with subprocess.Popen(heeding, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("lowering"):
                break
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)  # once: the lowering tool may swallow it, the command does not
        process.wait(timeout=120)
        rest = process.stderr.read()
    assert process.returncode == 130 and "interrupted; nothing was written" in rest, rest
    assert not any(tmp_path.iterdir())


def test_result_is_machine_readable(int8):
    data = json.loads(int8.manifest_path.read_text())
    assert data["file"]["name"] == "levit_128s_int8.tflite" and data["schema_version"] == 1
