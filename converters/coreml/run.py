"""Run .mlpackage files: pictures in, logits or probabilities out.

torch computes them, on any system; Core ML itself is not used.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PROBABILITIES_BY_LABEL = "classLabel_probs"
SCORES = ("logits", "probabilities", PROBABILITIES_BY_LABEL)  # the first that a file has


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
    known = [name for name in SCORES if name in model.program.outputs]
    if not known:
        raise ValueError(f"{path}: has no output named logits or probabilities")

    def call(array: np.ndarray) -> np.ndarray:
        return outputs_of(model.predict({inputs[0].name: array}), known[:1])[0]

    return call


def load_all(path: Path, threads: int) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """Open a file of any number of outputs, which come in its order; otherwise as `load`."""
    from converters.coreml.mil.interpreter import load as load_program

    model = load_program(path)
    (image,) = model.program.inputs
    return lambda array: outputs_of(model.predict({image.name: array}), model.program.outputs)


def outputs_of(found: Mapping[str, Any], names: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Return outputs by name; probabilities by label as an array in the labels' order, (1, classes)."""
    values = [found[PROBABILITIES_BY_LABEL if name not in found else name] for name in names]
    return tuple(np.array([list(v.values())], np.float32) if isinstance(v, dict) else v for v in values)
