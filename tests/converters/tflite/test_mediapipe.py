"""A client that knows nothing of this project: MediaPipe Tasks' ImageClassifier, in an environment of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_environments import python_with

from converters.artefact import open_artefact
from edge_vit import api
from edge_vit.deployment.request import ConvertConfig
from edge_vit.evaluation.drawing import SUBJECTS, draw

pytestmark = [pytest.mark.slow, pytest.mark.needs_tflite]
PROGRAM = """
import json, sys
import mediapipe as mp, numpy as np
from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=-1)
found = []
with vision.ImageClassifier.create_from_options(options) as classifier:
    for pixels in np.load(sys.argv[2]):
        (head,) = classifier.classify(mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels)).classifications
        found.append({"head": head.head_name, "all": [[c.category_name, c.score] for c in head.categories]})
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("mediapipe==1.2.3")


@pytest.fixture(scope="module", params=["logits", "probabilities"])
def artefact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    config = ConvertConfig(
        model="levit_128s", target="tflite", precision="int8", output=request.param, output_dir=folder
    )
    (result,) = api.export(config).results
    return result.artefact


def ask(python: Path, artefact: Path, pictures: np.ndarray, folder: Path) -> list[dict[str, Any]]:
    np.save(folder / "pictures.npy", pictures)
    command = [str(python), "-c", PROGRAM, str(artefact), str(folder / "pictures.npy")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_names_the_classes_and_gives_our_numbers(artefact: Path, python: Path, tmp_path: Path) -> None:
    opened = open_artefact(artefact)
    pictures = np.stack([np.asarray(draw(subject).resize((224, 224))) for subject in SUBJECTS])
    ours, found = opened.run(pictures), ask(python, artefact, pictures, tmp_path)
    names = [entry.name for entry in opened.manifest.classes]
    kind = opened.manifest.output.kind
    for outputs, said in zip(ours, found, strict=True):
        assert said["head"] == kind and len(said["all"]) == len(names)
        assert said["all"][0][0] == names[int(outputs.argmax())]
        for name, score in said["all"]:
            assert score == pytest.approx(float(outputs[names.index(name)]), abs=1e-2)
    assert found[SUBJECTS.index("golf ball")]["all"][0][0] == "golf ball"
    scores = [score for said in found for _, score in said["all"]]
    if kind == "probabilities":
        assert min(scores) > 0 and max(scores) < 1
    else:
        assert min(scores) < 0 and max(scores) > 1  # what an app would show as a confidence
