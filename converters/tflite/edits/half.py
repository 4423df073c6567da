"""Float16 around the softmaxes of an int8 model."""

from typing import Any

import numpy as np

from converters.tflite.edits.flatbuffer import EditedModel

# What TFLite's own converter writes for a model that may be computed in float16 (reduced_precision_metadata.h).
KEY, VALUE = "reduced_precision_support", b"fp16accfp16"
_KINDS = ("DEQUANTIZE", "QUANTIZE", "ADD", "SOFTMAX")
_MAX_VALUE = 4096.0  # up to here float16 is finer than the steps of an int8 grid of the same width


def allow_half_(model: EditedModel) -> None:
    """Let XNNPACK compute in float16 on cores that can, if all that an int8 model computes in float allows it.

    That is so for the softmaxes of attention: their result goes back to an int8 grid, whose steps are wider than
    float16's. The delegate computes all of its floats so, hence the model must compute nothing else in float. Other
    cores go on in float32.
    """
    found = [op for op in model.graph.operators if _touches_float(model, op)]
    kinds = {model.kind(op) for op in found}
    if "SOFTMAX" in kinds and kinds <= set(_KINDS) and all(_largest(model, op) <= _MAX_VALUE for op in found):
        model.add_metadata(KEY, VALUE)


def _touches_float(model: EditedModel, operator: Any) -> bool:
    tensors = [int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return any(model.dtype(tensor) == "float32" for tensor in tensors)


def _largest(model: EditedModel, operator: Any) -> float:
    """Return the largest value that an operator brings into the float part."""
    if model.kind(operator) == "DEQUANTIZE":
        table = model.graph.tensors[int(operator.inputs[0])]
        if table.quantization is None or table.quantization.scale is None:
            return np.inf
        return 256.0 * float(np.max(table.quantization.scale))
    constants = [model.constant(int(index), "float32") for index in operator.inputs]
    return max((float(np.abs(values).max()) for values in constants if values is not None and values.size), default=0.0)
