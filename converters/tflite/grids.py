"""The int8 operators of a .tflite file."""

from pathlib import Path

import numpy as np

from converters.grids import Grid, Int8Operator, digest_weights, make_grid
from converters.tflite.inspect import Inspection, OperatorInfo, inspect
from converters.tflite.reader import Tensor

_KINDS = {
    "CONV_2D": "gemm", "DEPTHWISE_CONV_2D": "gemm", "FULLY_CONNECTED": "gemm", "BATCH_MATMUL": "matmul", "ADD": "add",
    "SUB": "sub", "MUL": "mul", "MEAN": "mean", "AVERAGE_POOL_2D": "mean", "CONCATENATION": "concat",
    "LOGISTIC": "sigmoid",
}  # fmt: skip


def read(path: Path) -> list[Int8Operator]:
    """Return a file's int8 operators, in its own order.

    Raises:
        ValueError: If the file is missing, no TFLite flatbuffer, or damaged.
    """
    return [operator for operator, _ in operators_of(inspect(path))]


def operators_of(inspection: Inspection) -> list[tuple[Int8Operator, int]]:
    """Return a file's int8 operators, in its own order, and the tensor that each gives."""
    found = []
    for operator in inspection.operators:
        if operator.type not in _KINDS or operator.precision != "int8" or _is_clamp(inspection, operator):
            continue
        kind = _KINDS[operator.type]
        operands = operator.inputs[:1] if kind == "gemm" else operator.inputs
        grids = tuple(sorted(_grid(t) for t in _activations(inspection, operands)))
        output = _grid(inspection.tensors[operator.outputs[0]])
        weights = _weights(inspection, operator) if kind == "gemm" else ""
        found.append((Int8Operator(kind, operator.name, grids, output, weights), operator.outputs[0]))
    return found


def _is_clamp(inspection: Inspection, operator: OperatorInfo) -> bool:
    """Tell whether an operator adds a stored 0: it stands for the ReLU alone that is fused into it."""
    constants = [inspection.tensors[i] for i in operator.inputs if i >= 0 and inspection.tensors[i].is_constant]
    return operator.type == "ADD" and any(not any(constant.data) for constant in constants)


def _activations(inspection: Inspection, indices: tuple[int, ...]) -> list[Tensor]:
    tensors = [inspection.tensors[i] for i in indices if i >= 0]
    return [tensor for tensor in tensors if not tensor.is_constant and tensor.scales]


def _grid(tensor: Tensor) -> Grid:
    return make_grid(tensor.scales[0], tensor.zero_points[0])


def _weights(inspection: Inspection, operator: OperatorInfo) -> str:
    tensor = inspection.tensors[operator.inputs[1]]
    integers = np.frombuffer(tensor.data, np.int8).reshape(tensor.shape)
    if operator.type == "DEPTHWISE_CONV_2D":
        integers = integers.transpose(3, 1, 2, 0)  # (1, H, W, O) -> (O, H, W, 1)
    return digest_weights(integers, tensor.scales)
