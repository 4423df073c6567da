"""A converted file, run on an emulated ARM core, gives the classes that the golden vectors expect."""

import numpy as np
import pytest

from android_demo.apk import golden
from converters.manifest import load_for
from edge_vit import convert

PICTURES = ("rgb_odd", "alpha", "turned_6", "grey")


@pytest.mark.slow
@pytest.mark.needs_tflite
def test_classes_on_an_emulated_core(tmp_path, core_classes):
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("litert_torch")
    from converters.run import open_artefact
    from edge_vit.bench import emulation

    try:
        toolchain = emulation.prepare()
    except ValueError as e:
        pytest.skip(f"no emulated ARM core: {e}")
    arguments = ["levit_128s", "--target", "tflite", "--weights", "random", "--output-dir", str(tmp_path)]
    assert convert.main(arguments) == 0
    (artefact,) = tmp_path.glob("*.tflite")
    pictures = [entry for entry in golden.PICTURES if entry[0] in PICTURES]
    vectors = golden.make(artefact, tmp_path / "pictures", open_artefact(artefact).run, pictures)
    compared = golden.compare(["java"], [core_classes], artefact, vectors)
    assert compared.failures == ()
    labels = [label.name for label in load_for(artefact).classes]
    for vector in vectors:
        inputs = [vector.inputs.tobytes()]
        output = emulation.emulate(artefact, "cortex-a76", inputs=inputs, runs=1, toolchain=toolchain).output
        logits = np.frombuffer(output, "<f4")
        assert labels[int(logits.argmax())] == compared.top_classes[vector.name]
