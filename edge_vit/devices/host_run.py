"""Run a .tflite or a .pte on this machine, in what is installed here: what a device's outputs are compared with."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from converters.cache import cache_folder
from converters.tflite.reader import Tensor, read_model
from edge_vit.devices import packages, runner_build


def seeded_inputs(tensors: Sequence[Tensor], seed: int = 0) -> list[bytes]:
    """Return input bytes that are the same on every machine: whole-range integers, standard normal floats."""
    import numpy as np

    generator = np.random.default_rng(seed)
    made = []
    for tensor in tensors:
        shape = tuple(max(1, size) for size in tensor.shape)
        dtype = np.dtype(tensor.dtype) if tensor.dtype in np.sctypeDict else None
        if dtype is None:
            raise ValueError(f"input {tensor.name} is of {tensor.dtype}, for which no test values can be made")
        if dtype.kind == "f":
            values = generator.standard_normal(shape).astype(dtype)
        elif dtype.kind == "b":
            values = generator.integers(0, 2, shape).astype(dtype)
        else:
            low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.itemsize == 1 else (0, 100)
            values = generator.integers(low, high, shape, endpoint=True).astype(dtype)
        made.append(values.tobytes())
    return made


def model_inputs(model: Path) -> list[Tensor]:
    """Return the inputs of a .tflite or .pte file.

    Raises:
        ValueError: If the file is damaged, or takes what no test values can be made for.
        ImportError: If a .pte needs ExecuTorch to be read, and it is not installed.
    """
    if model.suffix != ".pte":
        return list(read_model(model).input_tensors)
    from converters.executorch import network

    dtype, shape = network.input_type(model)
    return [Tensor(name="input", dtype=dtype, shape=shape)]


def reference_output(model: Path, inputs: Sequence[bytes], cache_dir: Path | None = None) -> bytes:
    """Return the bytes of all outputs of one inference on this machine itself, with the runtime installed here.

    Raises:
        MissingLiteRTError: If a .tflite's is not installed.
        ImportError: If a .pte's is not.
        ValueError: If the runner cannot be had here, or fails.
    """
    if model.suffix == ".pte":
        return _executorch_output(model, inputs[0])
    library, runner = runner_build.local_library(), runner_build.local_runner(cache_folder(cache_dir))
    with tempfile.TemporaryDirectory(prefix="edge_vit-local-") as scratch:
        output = Path(scratch) / "output"
        command = [str(runner), "--library", str(library)]
        command += ["--model", str(model), "--output", str(output), *input_flags(inputs, Path(scratch))]
        packages.call(command, f"a run of {model.name} on this machine")
        return output.read_bytes()


def _executorch_output(model: Path, data: bytes) -> bytes:
    import numpy as np

    from converters.executorch import run

    (tensor,) = model_inputs(model)
    array = np.frombuffer(bytearray(data), tensor.dtype).reshape(tensor.shape)  # torch wants it writable
    return b"".join(output.tobytes() for output in run.load_all(model, 1)(array))


def input_flags(inputs: Sequence[bytes], scratch: Path) -> list[str]:
    """Write each input beside the others and return the runner's flags that name them."""
    flags = []
    for i, data in enumerate(inputs):
        path = scratch / f"input{i}"
        path.write_bytes(data)
        flags += ["--input", str(path)]
    return flags
