"""Small boards have tflite_runtime in place of ai_edge_litert: the real one runs our files, to the integer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lowered import Lowered
from other_environments import python_with
from torch import nn

from converters.card import ModelCard
from converters.sqnr import sqnr_db

ROOT = Path(__file__).parents[3]
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from converters.tflite.run import load
call = load(Path(sys.argv[1]), 1)
print(json.dumps([call(picture[None])[0].tolist() for picture in np.load(sys.argv[2])]))
"""


def run_with(python: Path | str, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(python), "-c", PROGRAM, *arguments], capture_output=True, text=True, env=environment, cwd="/"
    )


@pytest.mark.needs_tflite
@pytest.mark.parametrize("is_int8", [False, True])
def test_the_older_runtime_computes_the_same(is_int8: bool, small_model: nn.Module, tmp_path: Path) -> None:
    python = python_with("tflite-runtime==2.14.0", "numpy<2")
    model = Lowered.from_module(small_model, 16)
    written = (model.int8() if is_int8 else model).to("tflite", tmp_path, card=ModelCard(labels=tuple("abcde"))).runs()
    assert written.result is not None and written.outputs is not None
    np.save(tmp_path / "pictures.npy", written.pictures)
    done = run_with(python, str(written.result.path), str(tmp_path / "pictures.npy"))
    assert done.returncode == 0, done.stderr
    outputs = np.array(json.loads(done.stdout))
    # Kernels of another year round a half elsewhere: one step of the output's grid, which is a 255th of its range.
    step = np.ptp(written.outputs) / 255 if is_int8 else 1e-5
    assert np.abs(outputs - written.outputs).max() <= 2 * step
    assert sqnr_db(written.outputs, outputs) > (35 if is_int8 else 100)


@pytest.mark.needs_tflite
def test_neither_runtime_names_the_extra(tmp_path: Path) -> None:
    program = "import sys; sys.modules['ai_edge_litert'] = sys.modules['tflite_runtime'] = None\n" + PROGRAM
    command = [sys.executable, "-c", program, str(tmp_path / "m.tflite"), "none"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "ImportError: running .tflite files needs LiteRT; pip install 'edge_vit[tflite]'" in done.stderr
