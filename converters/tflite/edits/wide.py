"""Activations of 16 bits, where the lowering tool knows 8."""

import numpy as np

from converters.grids import wide_scale
from converters.tflite.edits.flatbuffer import EditedModel

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# With int16 activations LiteRT (2.3) has no kernel of these.
_WITHOUT_KERNEL = ("GELU", "HARD_SWISH")


def widen_(model: EditedModel) -> None:
    """Make every int8 activation an int16 one of the same reach, symmetric; weights stay int8, biases become int64.

    Raises:
        ValueError: If an operator has no int16 kernel.
    """
    graph = model.graph
    if found := sorted({model.kind(op) for op in graph.operators} & set(_WITHOUT_KERNEL)):
        raise ValueError(f"{found[0]} has no kernel for int16 activations in LiteRT; use --int8")
    weighted = [op for op in graph.operators if model.kind(op) in _WEIGHTED]
    weights = {int(op.inputs[1]) for op in weighted}
    finer: dict[int, float] = {}  # of an int8 tensor: its new steps in one old step
    for index in range(len(graph.tensors)):
        if model.dtype(index) == "int8" and index not in weights:
            finer[index] = _widen_tensor_(model, index)
    for op in weighted:
        source, weight, bias = (int(index) for index in [*op.inputs, -1][:3])
        if bias >= 0:
            op.inputs = [source, weight, _wide_bias(model, bias, finer[source])]
    for op in graph.operators:
        if model.kind(op) in ("ADD", "SUB"):
            kind = model.kind(op).title()
            options = op.builtinOptions or getattr(model.schema, f"{kind}OptionsT")()
            options.potScaleInt16 = False  # scales are any numbers, not powers of two
            op.builtinOptionsType, op.builtinOptions = getattr(model.schema.BuiltinOptions, f"{kind}Options"), options
    _enter_through_floats_(model)


def _widen_tensor_(model: EditedModel, index: int) -> float:
    old = model.graph.tensors[index].quantization
    scale, zero_point = float(old.scale[0]), int(old.zeroPoint[0])
    grid = model.make_grid(wide_scale(scale, zero_point))
    finer = scale / float(grid.scale[0])
    values = model.constant(index, "int8")
    if values is None:
        model.retype(index, "int16", grid)
    else:
        wide = np.round((values.astype(np.float64) - zero_point) * finer)
        model.replace_values([index], np.clip(wide, -32768, 32767).astype(np.int16), grid)
    return finer


def _wide_bias(model: EditedModel, index: int, finer: float) -> int:
    """Return a bias of 64 bits on the grid of the sums that it now joins."""
    values, grid = model.constant(index, "int32"), model.graph.tensors[index].quantization
    assert values is not None
    scales = [float(scale) / finer for scale in grid.scale]
    wide = np.round(values.astype(np.float64) * finer).astype(np.int64)
    name = model.graph.tensors[index].name + b"_int64"
    return model.add_constant(name, wide, model.make_grid(scales, axis=int(grid.quantizedDimension)))


def _enter_through_floats_(model: EditedModel) -> None:
    """Write a QUANTIZE from uint8 to int16, which LiteRT has no kernel of, as a DEQUANTIZE and a QUANTIZE."""
    operators = []
    for op in model.graph.operators:
        source = int(op.inputs[0]) if len(op.inputs) else -1
        if model.kind(op) == "QUANTIZE" and model.dtype(source) == "uint8":
            middle = model.add_tensor(model.graph.tensors[source].name + b"_float", model.shape(source), "float32")
            operators.append(model.make_operator("DEQUANTIZE", [source], [middle]))
            op.inputs = [middle]
        operators.append(op)
    model.graph.operators = operators
