"""Run .tflite files with LiteRT's interpreter and its XNNPACK kernels, or with the older tflite_runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`.

    Raises:
        ValueError: If the file is damaged, or has more than one input or output.
        ImportError: If neither runtime is installed.
    """
    try:
        interpreter = _interpreter_class()(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as e:
        raise ValueError(f"{path}: LiteRT cannot load it ({str(e).splitlines()[0]})") from e
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; a classifier has one of each")
    source, target = inputs[0]["index"], outputs[0]["index"]
    scale, zero_point = outputs[0]["quantization"]

    def call(array: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, array)
        interpreter.invoke()
        raw = interpreter.get_tensor(target)
        return (raw.astype(np.float32) - zero_point) * scale if raw.dtype.kind in "iu" else raw

    return call


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as e:
            raise ImportError("running .tflite files needs LiteRT; pip install 'edge_vit[tflite]'") from e
    return Interpreter
