"""PyTorch to TFLite by a second road, onnx2tf.

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
from typing import Any, Literal

from torch import Tensor, nn

from converters.checksum import sha256_file
from converters.onnx2tf.environment import find_environment
from converters.onnx2tf.export import INPUT_NAME, export_onnx
from converters.onnx2tf.integers import finish_onnx2tf
from converters.passes.graph import check_eval_mode, is_qdq_graph
from converters.result import ConversionResult, written_whole
from converters.tflite.edits.apply import edit_model
from converters.tflite.inspect import inspect
from converters.tflite.lower import TFLiteOptions

_PACKAGES = ("torch", "onnx", "onnxscript", "ai-edge-litert")


def convert(
    model: nn.Module, example_inputs: tuple[Tensor, ...], output_path: Path, *, options: TFLiteOptions
) -> ConversionResult:
    """Write `model` as a .tflite file.

    Args:
        model: A float module in eval mode, or a qdq graph (quantized_decomposed operators).
        example_inputs: One batch-one input, as the model takes it.

    Raises:
        ValueError: If an operator has no lowering, or the folder cannot be written.
        ImportError: If the onnx extra or onnx2tf's environment cannot be had; the message says what to do.
    """
    check_eval_mode(model)
    is_quantized = is_qdq_graph(model)
    if is_quantized and options.half_precision:
        raise ValueError("a quantized graph has int8 weights; half_precision is for float graphs")
    environment = find_environment()
    with tempfile.TemporaryDirectory() as folder:
        export = export_onnx(model, example_inputs, Path(folder, "model.onnx"))
        flatbuffer, names = run_onnx2tf(environment.python, export.path)
    grids = grids_by_tensor(export.grids, names)
    stored: Literal["int8", "fp16"] | None = "fp16" if options.half_precision else None
    if is_quantized:
        stored = "int8"
    finished = finish_onnx2tf(flatbuffer, grids, export.weight_scales)
    edited = edit_model(finished, uint8_input=options.uint8_input, stored_constants=stored)
    with written_whole(output_path) as temporary:
        temporary.write_bytes(edited)
    inspection = inspect(output_path)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    own = {f"{name} (onnx2tf's)": version for name, version in environment.versions.items() if name != "onnx2tf"}
    return ConversionResult(
        target="tflite",
        path=output_path,
        num_bytes=len(edited),
        sha256=sha256_file(output_path),
        precision="int8" if is_quantized else "fp32",
        input_shape=tuple(int(size) for size in inspection.tensors[inspection.inputs[0]].shape),
        delegated_nodes=len(inspection.operators) - len(inspection.slow_path),
        total_nodes=len(inspection.operators),
        tool_versions=versions | {"onnx2tf": environment.versions["onnx2tf"]} | own,
        details={"operators": inspection.summary(), "slow_path": inspection.slow_path},
    )


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
