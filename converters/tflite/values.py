"""The values inside a .tflite file, as LiteRT's own kernels compute them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.grids import Int8Operator
from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.grids import operators_of
from converters.tflite.inspect import inspect
from converters.tflite.run import load_all


def read(path: Path) -> tuple[list[Int8Operator], Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    """Open a file for `converters.values`.

    A copy of the file gives all those values as outputs, so the fast kernels run as they do in the file, but none is
    joined with the next.

    Raises:
        ValueError: If the file is missing, no TFLite flatbuffer, or damaged.
        ImportError: If LiteRT is not installed.
    """
    found = operators_of(inspect(path))
    model = EditedModel(path.read_bytes())
    model.graph.outputs = [*(int(index) for index in model.graph.outputs), *(tensor for _, tensor in found)]
    model.model.signatureDefs = None  # they name the outputs that the file had
    with tempfile.TemporaryDirectory(prefix="edge_vit-values-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(model.pack())
        run = load_all(copy, threads=1)
    return [operator for operator, _ in found], lambda inputs: run(inputs)[-len(found) :]
