"""The values inside a written file, operator by operator, to tell a runtime's fault from what int8 costs anyway."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.grids import Int8Operator
from converters.readers import reader_of

# Suffix -> "module:function", imported when chosen. The function returns the operators of `converters.grids`, in its
# order, and a callable from one input array, of the manifest's shape and type, to what each of them gives, as floats.
# ExecuTorch is missing: a delegate keeps its values to itself.
READERS = {
    ".tflite": "converters.tflite.values:read",
    ".mlpackage": "converters.coreml.values:read",
    ".onnx": "converters.onnx.values:read",
}


def read_values(path: Path) -> tuple[list[Int8Operator], Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    """Open a file so that a run gives the value of every int8 operator.

    Raises:
        ValueError: If the runtime of this suffix shows no values, or the file is damaged.
        ImportError: If the format's package is missing; the message names the extra.
    """
    operators, call = reader_of(READERS, path, "values inside a file")(path)
    return list(operators), call
