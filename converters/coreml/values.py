"""The values inside an .mlpackage, as this repository's interpreter computes them; Core ML itself shows none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.coreml.grids import operators_of
from converters.grids import Int8Operator


def read(path: Path) -> tuple[list[Int8Operator], Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    """Open a file for `converters.values`.

    Raises:
        ValueError: If the file is damaged, or uses an operator that is not known.
        ImportError: If coremltools, which reads it, is not installed; the message names the extra.
    """
    from converters.coreml.mil.interpreter import load

    model = load(path)
    found = operators_of(model.program)
    (image,) = model.program.inputs

    def call(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        values = model.evaluate({image.name: inputs})
        return tuple(_as_floats(np.asarray(values[name]), operator) for operator, name in found)

    return [operator for operator, _ in found], call


def _as_floats(integers: np.ndarray, operator: Int8Operator) -> np.ndarray:
    shift = 128 if integers.dtype == np.uint8 else 0
    return (integers.astype(np.float32) - (operator.output.zero_point + shift)) * np.float32(operator.output.scale)
