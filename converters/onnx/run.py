"""Run .onnx files with ONNX Runtime on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.first_line import first_line

# Without VNNI, x86 kernels of uint8 activations and int8 weights add pairs of products in 16 bits, which overflow; with
# this they take others, exact and a little slower. It changes nothing on other processors.
_EXACT_ON_X86 = "session.x64quantprecision"


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`.

    Raises:
        ValueError: If the file is damaged, or has more than one input or output.
        ImportError: If ONNX Runtime is not installed; the message names the extra.
    """
    session, faults = _open(path, threads)
    outputs = session.get_outputs()
    if len(outputs) != 1:
        raise ValueError(f"{path}: has 1 inputs and {len(outputs)} outputs; a classifier has one of each")
    call = _caller(session, faults)
    return lambda array: call(array)[0]


def load_all(path: Path, threads: int) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """Open a file of any number of outputs, which come in its order; otherwise as `load`."""
    return _caller(*_open(path, threads))


def _open(path: Path, threads: int) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return a session, and what ONNX Runtime raises."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as e:
        raise ImportError("running .onnx files needs ONNX Runtime; pip install 'edge_vit[onnx]'") from e
    faults = (
        state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile,
        state.NotImplemented, state.RuntimeException,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # it logs to stderr what it raises, too
    options.add_session_config_entry(_EXACT_ON_X86, "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except faults as e:
        raise ValueError(f"{path}: ONNX Runtime cannot load it ({first_line(e)})") from e
    counts = len(session.get_inputs()), len(session.get_outputs())
    if counts[0] != 1:
        raise ValueError(f"{path}: has {counts[0]} inputs and {counts[1]} outputs; a classifier has one of each")
    return session, faults


def _caller(session: Any, faults: tuple[type[Exception], ...]) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    (source,) = session.get_inputs()

    def call(array: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            return tuple(session.run(None, {source.name: array}))
        except faults as e:
            raise ValueError(first_line(e)) from e

    return call
