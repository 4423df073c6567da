"""Run .mlpackage files, evaluated with torch on any system: pictures in, logits out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`; `threads` is torch's business.

    Raises:
        ValueError: If the file is damaged, takes no picture, gives no logits, or uses an operator that is not known.
    """
    from converters.coreml.mil.interpreter import load as load_program

    program = load_program(path)
    if [feature.kind for feature in program.inputs] != ["image"]:
        raise ValueError(f"{path}: takes {', '.join(f.kind for f in program.inputs)}; a classifier takes one image")
    if unknown := program.unsupported():
        raise ValueError(f"{path}: operators not known to the interpreter: {', '.join(unknown)}")
    if "logits" not in program.program.block.outputs:
        raise ValueError(f"{path}: has no output named logits")
    name = program.inputs[0].name

    def call(array: np.ndarray) -> np.ndarray:
        return program.predict({name: array})["logits"]

    return call
