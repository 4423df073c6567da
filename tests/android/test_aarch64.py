"""The very file that goes into the app, run on emulated ARM cores, gives the classes that the golden vectors expect."""

import dataclasses
import json

import numpy as np
import pytest

from android_demo.apk import golden
from converters.manifest import load_for
from edge_vit import convert
from edge_vit.devices import imported, records
from edge_vit.emulation import pte as emulated_pte
from edge_vit.evaluation import drawing

pytestmark = [pytest.mark.slow, pytest.mark.needs_executorch]


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """The embedded levit_128s in int8, as the app carries it."""
    pytest.importorskip("executorch")
    folder = tmp_path_factory.mktemp("artefact")
    assert convert.main(["levit_128s", "--target", "executorch", "--int8", "--output-dir", str(folder)]) == 0
    return folder / "levit_128s_int8.pte"


@pytest.fixture(scope="module")
def toolchain():
    try:
        return emulated_pte.prepare()
    except ValueError as e:
        pytest.skip(f"no emulated ARM core: {e}")


@pytest.fixture(scope="module")
def vectors(artefact, tmp_path_factory):
    from converters.artefact import open_artefact

    return golden.make(artefact, tmp_path_factory.mktemp("pictures"), open_artefact(artefact).run)


@pytest.mark.parametrize("cpu", ["cortex-a76", "cortex-a53"])
def test_classes_of_every_picture(artefact, vectors, core_classes, toolchain, cpu):
    compared = golden.compare(["java"], [core_classes], artefact, vectors)
    assert compared.failures == () and compared.num_pictures == len(golden.PICTURES)
    labels = [label.name for label in load_for(artefact).classes]
    for vector in vectors:
        logits = np.frombuffer(emulated_pte.run(artefact, vector.inputs.tobytes(), cpu, toolchain=toolchain), "<f4")
        expected = np.frombuffer(vector.logits.read_bytes(), "<f4")
        assert labels[int(logits.argmax())] == compared.top_classes[vector.name]
        # Two steps of the output's grid; softmax in float may round one activation otherwise.
        assert np.abs(logits - expected).max() < 0.06, vector.name


def test_the_apps_record_of_a_run_under_emulation(artefact, core_classes, toolchain, tmp_path):
    """The app's own classes prepare a picture, measure and write the record; the inference is an emulated core's."""
    picture = drawing.draw("golf ball", 300).convert("RGBA")
    (tmp_path / "rgba").write_bytes(picture.tobytes())
    request = {
        "do": "emulated_run", "folder": str(artefact.parent), "model": artefact.name, "into": str(tmp_path),
        "command": emulated_pte.command_words(toolchain, "cortex-a76"), "runs": 2,
        "version": toolchain.executorch_version, "device": "qemu cortex-a76", "rgba": str(tmp_path / "rgba"),
        "width": picture.width, "height": picture.height,
    }  # fmt: skip
    (found,) = golden.ask(["java"], [core_classes], [request])
    assert found["labels"][0] == "golf ball"
    made = found["record"]
    fields = {field.name for field in dataclasses.fields(records.Record)}
    assert fields - made.keys() == {"output", "output_max_difference", "output_not_compared"}
    assert made["is_complete"] and made["figures"] == {"num_samples": 2, "marks": ["emulated"]}
    assert (
        made["model_sha256"] == load_for(artefact).file.sha256 and made["runner"]["name"] == "android_demo ExecuTorch"
    )
    assert made["rounds"] == [{"repeat": 0, "num_samples": 2}] and made["peak_kb"] is None  # emulated times are none
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm/record.json").write_text(json.dumps(made))
    assert imported.read(tmp_path / "farm")[1] == []


def test_threads_may_share_the_work(artefact, vectors, toolchain):
    """The logits are those of one thread when the runtime's pool has several.

    ExecuTorch 1.4.1 on ARM packs the second factor of an int8 matmul wrongly when several threads share the work and it
    lies row by row (pthreadpool's 2d_tile_1d_dynamic); the converter therefore writes products with a transposed one.
    """
    for vector in vectors:
        inputs = vector.inputs.tobytes()
        shared = emulated_pte.run(artefact, inputs, threads=4, toolchain=toolchain)
        assert shared == emulated_pte.run(artefact, inputs, toolchain=toolchain), vector.name
