"""Run .tflite files with LiteRT's interpreter and its XNNPACK kernels, or with the older tflite_runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.first_line import first_line


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`.

    Raises:
        ValueError: If the file is damaged, or has more than one input or output.
        ImportError: If neither runtime is installed.
    """
    interpreter = _open(path, threads)
    outputs = interpreter.get_output_details()
    if len(outputs) != 1:
        raise ValueError(f"{path}: has 1 inputs and {len(outputs)} outputs; a classifier has one of each")
    call = _caller(interpreter, outputs)
    return lambda array: call(array)[0]


def load_all(path: Path, threads: int) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """Open a file of any number of outputs, which come in its order; otherwise as `load`."""
    interpreter = _open(path, threads)
    return _caller(interpreter, interpreter.get_output_details())


def _open(path: Path, threads: int) -> Any:
    try:
        interpreter = _interpreter_class()(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as e:
        raise ValueError(f"{path}: LiteRT cannot load it ({first_line(e)})") from e
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1:
        raise ValueError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; a classifier has one of each")
    return interpreter


def _caller(interpreter: Any, outputs: list[dict[str, Any]]) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    source = interpreter.get_input_details()[0]["index"]

    def read(output: dict[str, Any]) -> np.ndarray:
        raw, (scale, zero_point) = interpreter.get_tensor(output["index"]), output["quantization"]
        return (raw.astype(np.float32) - zero_point) * scale if raw.dtype.kind in "iu" else raw

    def call(array: np.ndarray) -> tuple[np.ndarray, ...]:
        interpreter.set_tensor(source, array)
        interpreter.invoke()
        return tuple(read(output) for output in outputs)

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
