"""Edits of a finished .tflite flatbuffer that the lowering tool has no setting for.

Works on the object form of the schema that the LiteRT package carries (tables named `...T`), typed `Any` here.
"""

from typing import Any, Literal

import numpy as np

# Constants below this size are not worth an operator of their own.
_MIN_CONSTANT_VALUES = 1024


def edit_model(
    flatbuffer: bytes, *, uint8_input: bool, stored_constants: Literal["int8", "fp16"] | None
) -> bytes:
    """Return the model with the outside that apps expect.

    Args:
        uint8_input: Take uint8 pixels where the lowered graph takes their int8 or float form.
        stored_constants: Keep large float constants smaller, dequantized once when the model is loaded. "int8" is for a
            quantized graph and concerns the addends of its float additions (attention biases): the qdq graph holds
            them on that grid, but the lowering tool drops quantize-dequantize pairs on constants. "fp16" is for a
            float graph and concerns everything.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    graph = model.subgraphs[0]
    if uint8_input:
        _take_uint8(model, graph, schema)
    _give_float(model, graph, schema)
    _free_softmax(model, graph, schema)
    if stored_constants is not None:
        _shrink_constants(model, graph, schema, stored_constants)
    builder = flatbuffers.Builder(len(flatbuffer) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _take_uint8(model: Any, graph: Any, schema: Any) -> None:
    """Put an operator before the graph that turns uint8 pixels into what the graph reads."""
    (old,) = graph.inputs
    tensor = graph.tensors[old]
    is_int8 = tensor.type == schema.TensorType.INT8
    if is_int8:
        scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
        if (scale, zero_point) != (1.0, -128):
            raise ValueError(f"input grid is {scale}, {zero_point}; pixels need scale 1, zero point -128")
    elif tensor.type != schema.TensorType.FLOAT32:
        raise ValueError(f"input type {tensor.type} is not allowed; the graph must take float32 or int8 pixels")
    new = _add_tensor(graph, schema, b"pixels", tensor.shape, schema.TensorType.UINT8, grid=(1.0, 0))
    dequantize, quantize = schema.BuiltinOperator.DEQUANTIZE, schema.BuiltinOperator.QUANTIZE
    if is_int8:
        # One QUANTIZE from uint8 to int8 would do, but XNNPACK does not take it. A DEQUANTIZE and a QUANTIZE it takes,
        # and runs the pair as one table lookup.
        middle = _add_tensor(graph, schema, b"pixels_float", tensor.shape, schema.TensorType.FLOAT32)
        graph.operators.insert(0, _make_operator(model, schema, dequantize, [new], [middle]))
        graph.operators.insert(1, _make_operator(model, schema, quantize, [middle], [old]))
    else:
        graph.operators.insert(0, _make_operator(model, schema, dequantize, [new], [old]))
    graph.inputs = [new]
    for signature in model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex, entry.name = new, b"pixels"


def _give_float(model: Any, graph: Any, schema: Any) -> None:
    """Dequantize the logits."""
    (old,) = graph.outputs
    tensor, new = graph.tensors[old], old
    if tensor.type == schema.TensorType.INT8:
        new = _add_tensor(graph, schema, b"logits", tensor.shape, schema.TensorType.FLOAT32)
        graph.operators.append(_make_operator(model, schema, schema.BuiltinOperator.DEQUANTIZE, [old], [new]))
        graph.outputs = [new]
    else:
        tensor.name = b"logits"
    for signature in model.signatureDefs or []:
        for entry in signature.outputs:
            entry.tensorIndex, entry.name = new, b"logits"


def _free_softmax(model: Any, graph: Any, schema: Any) -> None:
    """Give every int8 SOFTMAX a DEQUANTIZE before and a QUANTIZE after it, so that it computes in float.

    The lowering tool makes a softmax between two int8 values an int8 one, whose output grid is fixed to 1/256 and which
    XNNPACK does not take. It happens where nothing stands between scores and softmax: no bias, or one of zeros.
    """
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    operators = []
    for op in graph.operators:
        is_softmax = codes[op.opcodeIndex] == schema.BuiltinOperator.SOFTMAX
        if not is_softmax or graph.tensors[op.inputs[0]].type != schema.TensorType.INT8:
            operators.append(op)
            continue
        before, after = int(op.inputs[0]), int(op.outputs[0])
        name, float32 = graph.tensors[after].name, schema.TensorType.FLOAT32
        scores = _add_tensor(graph, schema, name + b"_scores", graph.tensors[before].shape, float32)
        shares = _add_tensor(graph, schema, name + b"_float", graph.tensors[after].shape, float32)
        operators.append(_make_operator(model, schema, schema.BuiltinOperator.DEQUANTIZE, [before], [scores]))
        op.inputs, op.outputs = [scores], [shares]
        operators.append(op)
        operators.append(_make_operator(model, schema, schema.BuiltinOperator.QUANTIZE, [shares], [after]))
    graph.operators = operators


def _shrink_constants(model: Any, graph: Any, schema: Any, stored: str) -> None:
    """Store float constants in int8 or fp16, each with a DEQUANTIZE that the runtime evaluates once."""
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    shrink = _to_int8 if stored == "int8" else _to_fp16
    dequantizers: list[Any] = []
    replacement: dict[int, int] = {}
    for op in graph.operators:
        if stored == "int8" and codes[op.opcodeIndex] != schema.BuiltinOperator.ADD:
            continue
        for position, index in enumerate(op.inputs):
            if not _is_large_float_constant(model, graph, schema, index):
                continue
            if index not in replacement:
                tensor = graph.tensors[index]
                name, shape = tensor.name + b"_dequantized", tensor.shape
                shrink(model, schema, tensor)
                new = _add_tensor(graph, schema, name, shape, schema.TensorType.FLOAT32)
                kind = schema.BuiltinOperator.DEQUANTIZE
                dequantizers.append(_make_operator(model, schema, kind, [int(index)], [new]))
                replacement[index] = new
            op.inputs = [*op.inputs[:position], replacement[index], *op.inputs[position + 1 :]]
    graph.operators[:0] = dequantizers


def _is_large_float_constant(model: Any, graph: Any, schema: Any, index: int) -> bool:
    if index < 0:  # an operator's missing optional input
        return False
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    return tensor.type == schema.TensorType.FLOAT32 and data is not None and len(data) >= 4 * _MIN_CONSTANT_VALUES


def _to_int8(model: Any, schema: Any, tensor: Any) -> None:
    values = _values(model, tensor)
    scale = float(np.float32(np.abs(values).max()) / np.float32(127.0))
    integers = np.round(values / scale)  # the same grid as in the qdq graph, half to even as there
    model.buffers[tensor.buffer].data = integers.astype(np.int8).view(np.uint8)
    tensor.type, tensor.quantization = schema.TensorType.INT8, _grid(schema, scale, 0)


def _to_fp16(model: Any, schema: Any, tensor: Any) -> None:
    model.buffers[tensor.buffer].data = _values(model, tensor).astype(np.float16).view(np.uint8)
    tensor.type = schema.TensorType.FLOAT16


def _values(model: Any, tensor: Any) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)


def _add_tensor(
    graph: Any, schema: Any, name: bytes, shape: Any, kind: int, grid: tuple[float, int] | None = None
) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer, tensor.hasRank = name, list(shape), kind, 0, True
    if grid is not None:
        tensor.quantization = _grid(schema, *grid)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _grid(schema: Any, scale: float, zero_point: int) -> Any:
    grid = schema.QuantizationParametersT()
    grid.scale, grid.zeroPoint, grid.quantizedDimension = [scale], [zero_point], 0
    return grid


def _make_operator(model: Any, schema: Any, kind: int, inputs: list[int], outputs: list[int]) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, schema, kind)
    operator.inputs, operator.outputs = inputs, outputs
    return operator


def _opcode(model: Any, schema: Any, kind: int) -> int:
    for i, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == kind:
            return i
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 2
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
