"""The command that says which layer loses the accuracy."""

import dataclasses
import json
from pathlib import Path

import pytest

from converters import manifest as manifests
from edge_vit import api, sensitivity
from edge_vit.deployment.sensitivity import SensitivityConfig
from edge_vit.evaluation.drawing import SUBJECTS, draw
from edge_vit.models.sources import embedded_path


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    for i, subject in enumerate(SUBJECTS[:2]):
        draw(subject).save(folder / f"{i}.png")
    return folder


def test_layers_come_in_the_order_of_what_they_cost(flat):
    result = api.sensitivity(SensitivityConfig(model="efficientvit_m0", data=flat, images=1))
    measured = result.measured
    ratios = [layer.logits_db for layer in measured.layers]
    assert ratios == sorted(ratios) and len(ratios) > 100
    assert result.precision == "int8_qat" and result.loss == "float answers" and measured.float_top1 is None
    assert result.data.startswith("1 pictures of ") and 10.0 < measured.logits_db < 60.0
    assert json.loads(sensitivity._to_json(result))["measured"]["num_images"] == 1


def test_the_table_names_layers_and_says_what_it_leaves_out(flat, tmp_path, capsys):
    folder = tmp_path / "golf ball"
    folder.mkdir()
    draw("golf ball").save(folder / "0.png")
    (folder / "broken.png").write_bytes(b"no picture")
    assert sensitivity.main(["efficientvit_m0", "--data", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "efficientvit_m0, int8_qat, embedded:efficientvit_m0_int8.safetensors, on 1 pictures of " + (
        f"{tmp_path.name}/"
    )
    assert "top-1" in lines[1] and lines[4].endswith("layer") and len(lines) == 5 + 20 + 1
    assert lines[-1].endswith("more; --all shows them") and "skipped 1 unreadable picture" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("levit_12 --data {flat}", "levit_128"),
        ("levit_128s --data {flat}/none", "no such folder"),
        ("levit_128s --data {flat} --images 0", "images 0 is not allowed; use 1 or more"),
        ("levit_128s --data {flat} --calib {flat} --weights {int8}", "carries its ranges; leave --calib out"),
        ("levit_256 --weights random --data {flat}", "float weights carry no ranges"),
    ],
)
def test_misuse_is_one_line(words, said, flat, capsys):
    int8 = embedded_path("levit_128s", is_quantized=True)
    assert sensitivity.main(words.format(flat=flat, int8=int8).split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


@pytest.mark.needs_tflite
def test_what_is_no_int8_file_of_the_variant_is_refused(write_artefact, flat, capsys):
    file = write_artefact("float.tflite", [[0.0, 0.0, 0.1], [0.1, 0.0, 0.0]], [0.0, 0.0], ("blue", "red"))
    manifests.save(dataclasses.replace(manifests.load_for(file), model="levit_192"), file)
    for words, said in (
        (["levit_192"], "is fp32; name an int8 file"),
        (["levit_256"], "is levit_192, not levit_256; name that variant"),
        (["levit_256", "--weights", "random"], "--weights does not go with --artefact"),
    ):
        assert sensitivity.main([*words, "--data", str(flat), "--artefact", str(file)]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.needs_tflite
def test_a_converted_file_holds_no_fault(flat, tmp_path, capsys):
    api.export(api.ConvertConfig(model="efficientvit_m0", target="tflite", precision="int8", output_dir=tmp_path))
    file = tmp_path / "efficientvit_m0_int8.tflite"
    assert sensitivity.main(["efficientvit_m0", "--data", str(flat), "--artefact", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("no fault of the runtime") and lines[4].split() == [
        "steps", "off", "to", "graph", "to", "float", "int8", "alone", "operator",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.needs_tflite
def test_a_planted_fault_stays_in_float(tmp_path, capsys):
    """Spoil one range of the embedded checkpoint: --max-drop leaves that layer in float, and the drop is gone."""
    from safetensors.torch import load_file

    from edge_vit import convert
    from edge_vit.models.checkpoint_io import write_checkpoint
    from edge_vit.models.sources import find_weights

    pictures = Path(__file__).parents[3] / "shared/data/imagenette192/val"
    if not pictures.is_dir():
        pytest.skip("needs ../shared/data/imagenette192")
    culprit = "model.stages.1.blocks.1.add.1"
    source = find_weights("levit_128s", "embedded", prefer_quantized=True)
    metadata = dict(source.checkpoint.metadata) | {"ranges": {k: dict(v) for k, v in source.metadata["ranges"].items()}}
    metadata["ranges"][culprit]["scale"] /= 8.0
    spoilt = tmp_path / "spoilt.safetensors"
    write_checkpoint(spoilt, load_file(source.path), metadata)
    (tmp_path / source.float_source.path.name).write_bytes(source.float_source.path.read_bytes())
    words = ["levit_128s", "--target", "tflite", "--int8", "--weights", str(spoilt), "--data", str(pictures)]
    words += ["--data-images", "60", "--max-drop", "0.3", "--output-dir", str(tmp_path)]
    assert convert.main(words) == 0
    manifest = manifests.load_for(tmp_path / "levit_128s_int8.tflite")
    budget = manifest.quantization["budget"]
    assert [one["layer"] for one in budget["concessions"]] == [culprit] and budget["drop_points"] <= 0.3
    assert budget["tried"][0]["drop_points"] > 10.0 and budget["tried"][0]["granted"] == 0
    assert culprit in manifest.quantization["kept_float"] and culprit not in manifest.quantization["ranges"]
    assert f"float  {culprit} (value, 5 operators)" in capsys.readouterr().out
