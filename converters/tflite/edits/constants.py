"""Large float constants, stored smaller."""

from typing import Literal

import numpy as np

from converters.tflite.edits.flatbuffer import EditedModel

# Constants below this size are not worth an operator of their own.
_MIN_VALUES = 1024


def shrink_constants_(model: EditedModel, stored: Literal["int8", "fp16"]) -> None:
    """Store float constants in int8 or fp16, each with a DEQUANTIZE that the runtime evaluates once.

    Args:
        stored: "int8" concerns what an ADD reads, "fp16" everything.
    """
    graph = model.graph
    readers = [op for op in graph.operators if stored == "fp16" or model.kind(op) == "ADD"]
    ids = {id(op) for op in readers}
    kept = model.read_tensors(op for op in graph.operators if id(op) not in ids) | {int(i) for i in graph.outputs}
    small: dict[int, int] = {}
    dequantized: dict[int, int] = {}
    for index in (int(index) for op in readers for index in op.inputs):
        if index not in small and _is_large(model, index):  # a constant that two operators share is shrunk once
            tensor = graph.tensors[index]
            small[index] = model.add_twin(index) if index in kept else index
            dequantized[index] = model.add_tensor(tensor.name + b"_dequantized", model.shape(index), "float32")
    by_buffer: dict[int, list[int]] = {}
    for index in small.values():
        by_buffer.setdefault(graph.tensors[index].buffer, []).append(index)
    for indices in by_buffer.values():
        values = model.constant(indices[0], "float32")
        assert values is not None
        if stored == "fp16":
            model.replace_values(indices, values.astype(np.float16))
        else:
            scale, integers = _quantized(values)
            model.replace_values(indices, integers, model.make_grid(scale))
    for op in readers:
        if not small.keys().isdisjoint(map(int, op.inputs)):
            op.inputs = [dequantized.get(int(index), int(index)) for index in op.inputs]
    graph.operators[:0] = [model.make_operator("DEQUANTIZE", [small[i]], [dequantized[i]]) for i in small]


def _is_large(model: EditedModel, index: int) -> bool:
    values = model.constant(index, "float32")
    return values is not None and values.size >= _MIN_VALUES


def _quantized(values: np.ndarray) -> tuple[float, np.ndarray]:
    """Return scale and integers on the same grid as in the qdq graph, half to even as there."""
    largest = max(np.abs(values).max(), np.float32(1e-6))
    scale = float(np.float32(largest) / np.float32(127.0))
    return scale, np.round(values / scale).astype(np.int8)
