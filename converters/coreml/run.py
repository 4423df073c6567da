"""Run .mlpackage files: pictures in, logits or probabilities out.

torch computes them, on any system; Core ML itself is not used.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

PROBABILITIES_BY_LABEL = "classLabel_probs"


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`; `threads` is left to torch.

    Raises:
        ValueError: If the file is damaged, takes no picture, gives no numbers, or uses an operator that is not known.
        ImportError: If coremltools, which reads it, is not installed; the message names the extra.
    """
    from converters.coreml.mil.interpreter import load as load_program

    model = load_program(path)
    inputs = model.program.inputs
    if [feature.kind for feature in inputs] != ["image"]:
        raise ValueError(
            f"{path}: takes {', '.join(f.kind for f in inputs) or 'nothing'}; a classifier takes one image"
        )
    if not {"logits", "probabilities", PROBABILITIES_BY_LABEL} & set(model.program.outputs):
        raise ValueError(f"{path}: has no output named logits or probabilities")

    def call(array: np.ndarray) -> np.ndarray:
        return scores(model.predict({inputs[0].name: array}))

    return call


def scores(outputs: Mapping[str, Any]) -> np.ndarray:
    """Return a file's logits or, where it gives none, its probabilities in the order of its labels, (1, classes)."""
    for name in ("logits", "probabilities"):
        if name in outputs:
            return outputs[name]
    return np.array([list(outputs[PROBABILITIES_BY_LABEL].values())], np.float32)
