"""Run .pte files with ExecuTorch's runtime and its XNNPACK kernels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from converters.first_line import first_line
from converters.quiet import quiet, quiet_native
from converters.trial import crash_of

# Where a program says what it is: a flatbuffer of ExecuTorch's schema, in one of its versions.
_IDENTIFIER = slice(4, 6), b"ET"
_HEADER_BYTES = 64  # which the loader reads first


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`.

    Raises:
        ValueError: If the file is damaged, or has more than one input or output.
        ImportError: If ExecuTorch is not installed.
    """
    call, num_outputs = _open(path, threads)
    if num_outputs != 1:
        raise ValueError(f"{path}: has 1 inputs and {num_outputs} outputs; a classifier has one of each")
    return lambda array: call(array)[0]


def load_all(path: Path, threads: int) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """Open a file of any number of outputs, which come in its order; otherwise as `load`."""
    return _open(path, threads)[0]


def _open(path: Path, threads: int) -> tuple[Callable[[np.ndarray], tuple[np.ndarray, ...]], int]:
    """Return how to run a file of one input, and its number of outputs."""
    try:
        with quiet(), quiet_native():
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
    except ImportError as e:
        raise ImportError("running .pte files needs ExecuTorch; pip install 'edge_vit[executorch]'") from e
    data = path.read_bytes()
    if len(data) < _HEADER_BYTES or data[_IDENTIFIER[0]] != _IDENTIFIER[1]:
        raise ValueError(f"{path}: no ExecuTorch program, or a damaged one; convert again")
    # Its loader checks tables and not what delegates hold: there it aborts.
    crash = crash_of(lambda: Runtime.get().load_program(data).load_method("forward"))
    if crash:
        raise ValueError(f"{path}: ExecuTorch crashes while it loads this file ({crash}): it is damaged; convert again")
    try:
        with quiet_native():  # it reports on files of /sys that only phones have
            if portable_lib._threadpool_get_thread_count() != threads:
                # One pool for the whole process, and loaded methods keep a pointer to it: only before this one.
                portable_lib._unsafe_reset_threadpool(threads)
            program = Runtime.get().load_program(data)
            method = program.load_method("forward")
    except RuntimeError as e:
        raise ValueError(f"{path}: ExecuTorch cannot load it ({first_line(e)})") from e
    assert method is not None
    counts = method.metadata.num_inputs(), method.metadata.num_outputs()
    if counts[0] != 1:
        raise ValueError(f"{path}: has {counts[0]} inputs and {counts[1]} outputs; a classifier has one of each")

    def call(array: np.ndarray, _kept_alive: object = program) -> tuple[np.ndarray, ...]:
        # A method does not hold its program.
        outputs = method.execute([torch.from_numpy(np.ascontiguousarray(array))])
        return tuple(output.numpy().copy() for output in outputs)

    return call, counts[1]
