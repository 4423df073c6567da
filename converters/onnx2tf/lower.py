"""PyTorch to TFLite by a second backend, onnx2tf.

    model or qdq graph -> ONNX, in float -> onnx2tf, in an environment of its own -> flatbuffer edits -> file

A qdq graph's grids do not travel through the ONNX file; they are written into the finished flatbuffer, value by value,
through onnx2tf's report of what became of each name (converters/onnx2tf/integers.py).
"""

import importlib.metadata
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from converters.environment import find_environment
from converters.onnx2tf.environment import RECIPE
from converters.onnx2tf.export import INPUT_NAME, export_onnx
from converters.onnx2tf.integers import finish_onnx2tf
from converters.result import ConversionResult
from converters.tflite.lower import TFLiteOptions, convert_through

_PACKAGES = ("torch", "onnx", "onnxscript", "ai-edge-litert")


def convert(
    model: nn.Module, example_inputs: tuple[Tensor, ...], output_path: Path, *, options: TFLiteOptions
) -> ConversionResult:
    """Write `model` as a .tflite file.

    Args:
        model: A float module in eval mode, or a qdq graph (quantized_decomposed operators).
        example_inputs: One batch-one input, as the model takes it: pixels, 0 to 255.

    Raises:
        ValueError: If an operator has no lowering, or the folder cannot be written.
        ImportError: If the onnx extra or onnx2tf's environment cannot be had; the message says what to do.
    """
    return convert_through(_lower, model, example_inputs, output_path, options=options)


def _lower(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> tuple[bytes, dict[str, str]]:
    environment = find_environment(RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        export = export_onnx(model, example_inputs, Path(folder, "model.onnx"))
        flatbuffer, names = run_onnx2tf(environment.python, export.path)
    finished = finish_onnx2tf(flatbuffer, grids_by_tensor(export.grids, names), export.weight_scales)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    own = {f"{name} (onnx2tf's)": version for name, version in environment.versions.items() if name != "onnx2tf"}
    return finished, versions | {"onnx2tf": environment.versions["onnx2tf"]} | own


def run_onnx2tf(python: Path, onnx_path: Path) -> tuple[bytes, dict[str, str]]:
    """Convert a float .onnx file whose input has the layout that the .tflite shall have.

    Returns:
        The flatbuffer, and the name of the tensor that each ONNX value became, if it is still there.

    Raises:
        ValueError: If onnx2tf cannot convert it.
    """
    folder = onnx_path.parent / "onnx2tf"
    command = [str(python), "-I", "-m", "onnx2tf", "-i", str(onnx_path), "-o", str(folder), "-n"]
    # Without this it would take (B, H, W, C) for (B, C, H, W) and turn it.
    command += ["-kat", INPUT_NAME]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
    model = folder / f"{onnx_path.stem}_float32.tflite"
    report = folder / f"{onnx_path.stem}_tensor_correspondence_report.json"
    if done.returncode or not (model.is_file() and report.is_file()):
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower()]
        reason = lines[-1][:300] if lines else f"exit status {done.returncode}"
        raise ValueError(f"onnx2tf has no lowering for this model: {reason}")
    records: list[dict[str, Any]] = json.loads(report.read_text())["records"]
    # The report loses a convolution's value between two layouts, but the tensor still bears the operator's name.
    names = {
        record["onnx_output_name"]: record["resolved_tflite_tensor_name"]
        if record["exists_in_final_model"]
        else f"{record['onnx_op_name']}_output_nhwc"
        for record in records
    }
    return model.read_bytes(), names


def grids_by_tensor(grids: dict[str, tuple[float, int]], names: dict[str, str]) -> dict[str, tuple[float, int]]:
    """Return grids under the names of tensors.

    Raises:
        ValueError: If two values on different grids became one tensor.
    """
    found: dict[str, tuple[float, int]] = {}
    for value, grid in grids.items():
        tensor = value if value == INPUT_NAME else names.get(value)
        if tensor is not None and found.setdefault(tensor, grid) != grid:
            raise ValueError(f"onnx2tf joined values on different grids into {tensor}: {found[tensor]} and {grid}")
    return found
