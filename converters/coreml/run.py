"""Run .mlpackage files: pictures in, logits out. torch computes them, on any system; Core ML itself is not used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`; `threads` is left to torch.

    Raises:
        ValueError: If the file is damaged, takes no picture, gives no logits, or uses an operator that is not known.
        ImportError: If coremltools, which reads it, is not installed; the message names the extra.
    """
    from converters.coreml.mil.interpreter import load as load_program

    model = load_program(path)
    inputs = model.program.inputs
    if [feature.kind for feature in inputs] != ["image"]:
        raise ValueError(
            f"{path}: takes {', '.join(f.kind for f in inputs) or 'nothing'}; a classifier takes one image"
        )
    if "logits" not in model.program.outputs:
        raise ValueError(f"{path}: has no output named logits")

    def call(array: np.ndarray) -> np.ndarray:
        return model.predict({inputs[0].name: array})["logits"]

    return call
