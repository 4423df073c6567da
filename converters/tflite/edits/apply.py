"""Edits of a finished .tflite flatbuffer that the lowering tool has no setting for.

Works on the object form of the schema that the LiteRT package carries (tables named `...T`), typed `Any` here.
"""

from typing import Any, Literal

import numpy as np

# Constants below this size are not worth an operator of their own.
_MIN_CONSTANT_VALUES = 1024


def edit_model(flatbuffer: bytes, *, uint8_input: bool, stored_constants: Literal["int8", "fp16"] | None) -> bytes:
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
    _free_from_int8(model, graph, schema)
    _restore_matmuls(model, graph, schema)
    _fuse_relu(model, graph, schema)
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
    new = add_tensor(graph, schema, b"pixels", tensor.shape, schema.TensorType.UINT8, grid=(1.0, 0))
    dequantize, quantize = schema.BuiltinOperator.DEQUANTIZE, schema.BuiltinOperator.QUANTIZE
    if is_int8:
        # One QUANTIZE from uint8 to int8 would do, but XNNPACK does not take it. A DEQUANTIZE and a QUANTIZE it takes,
        # and runs the pair as one table lookup.
        middle = add_tensor(graph, schema, b"pixels_float", tensor.shape, schema.TensorType.FLOAT32)
        graph.operators.insert(0, make_operator(model, schema, dequantize, [new], [middle]))
        graph.operators.insert(1, make_operator(model, schema, quantize, [middle], [old]))
    else:
        graph.operators.insert(0, make_operator(model, schema, dequantize, [new], [old]))
    graph.inputs = [new]
    for signature in model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex, entry.name = new, b"pixels"


def _give_float(model: Any, graph: Any, schema: Any) -> None:
    """Dequantize the logits."""
    (old,) = graph.outputs
    tensor, new = graph.tensors[old], old
    if tensor.type == schema.TensorType.INT8:
        new = add_tensor(graph, schema, b"logits", tensor.shape, schema.TensorType.FLOAT32)
        graph.operators.append(make_operator(model, schema, schema.BuiltinOperator.DEQUANTIZE, [old], [new]))
        graph.outputs = [new]
    else:
        tensor.name = b"logits"
    for signature in model.signatureDefs or []:
        for entry in signature.outputs:
            entry.tensorIndex, entry.name = new, b"logits"


def _free_from_int8(model: Any, graph: Any, schema: Any) -> None:
    """Give every int8 SOFTMAX and GELU a DEQUANTIZE before and a QUANTIZE after it, so that it computes in float.

    The lowering tool makes them int8 where they stand between two int8 values, and XNNPACK takes neither. The grid of
    what an int8 softmax gives is fixed to 1/256 besides. A GELU between the two runs as one table lookup.
    """
    freed = (schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.GELU)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    operators = []
    for op in graph.operators:
        if codes[op.opcodeIndex] not in freed or graph.tensors[op.inputs[0]].type != schema.TensorType.INT8:
            operators.append(op)
            continue
        before, after = int(op.inputs[0]), int(op.outputs[0])
        name, float32 = graph.tensors[after].name, schema.TensorType.FLOAT32
        wide = add_tensor(graph, schema, name + b"_before", graph.tensors[before].shape, float32)
        result = add_tensor(graph, schema, name + b"_float", graph.tensors[after].shape, float32)
        operators.append(make_operator(model, schema, schema.BuiltinOperator.DEQUANTIZE, [before], [wide]))
        op.inputs, op.outputs = [wide], [result]
        operators.append(op)
        operators.append(make_operator(model, schema, schema.BuiltinOperator.QUANTIZE, [result], [after]))
    graph.operators = operators


def _restore_matmuls(model: Any, graph: Any, schema: Any) -> None:
    """Make every FULLY_CONNECTED with computed weights the BATCH_MATMUL that it was.

    The lowering tool turns an int8 matrix product of batch one into a transposition and a FULLY_CONNECTED, of which
    XNNPACK takes only those with constant weights.
    """
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    makers = {int(op.outputs[0]): op for op in graph.operators}
    for op in graph.operators:
        if codes[op.opcodeIndex] != schema.BuiltinOperator.FULLY_CONNECTED or int(op.inputs[1]) not in makers:
            continue
        options = op.builtinOptions
        if options.fusedActivationFunction or (len(op.inputs) > 2 and op.inputs[2] >= 0):
            continue  # a matrix product has neither; it stays, and is counted as slow
        left, right = (int(index) for index in op.inputs[:2])
        flip = makers[right]
        is_flipped = codes[flip.opcodeIndex] == schema.BuiltinOperator.TRANSPOSE and _swaps_last(model, graph, flip)
        op.inputs = [left, int(flip.inputs[0]) if is_flipped else right]
        op.opcodeIndex = _opcode(model, schema, schema.BuiltinOperator.BATCH_MATMUL)
        op.builtinOptionsType = schema.BuiltinOptions.BatchMatMulOptions
        op.builtinOptions = schema.BatchMatMulOptionsT()
        op.builtinOptions.adjY = not is_flipped
    used = {int(index) for op in graph.operators for index in op.inputs} | {int(index) for index in graph.outputs}
    graph.operators = [op for op in graph.operators if used & {int(index) for index in op.outputs}]


def _swaps_last(model: Any, graph: Any, transpose: Any) -> bool:
    """Tell whether a TRANSPOSE swaps the last two axes and keeps the others."""
    data = model.buffers[graph.tensors[transpose.inputs[1]].buffer].data
    axes = np.frombuffer(bytes(data), np.int32).tolist()
    return axes == [*range(len(axes) - 2), len(axes) - 1, len(axes) - 2]


def _fuse_relu(model: Any, graph: Any, schema: Any) -> None:
    """Write every int8 RELU as the addition of zero with a ReLU fused into it, which XNNPACK takes."""
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for op in graph.operators:
        tensor = graph.tensors[op.inputs[0]]
        is_relu = codes[op.opcodeIndex] == schema.BuiltinOperator.RELU
        if not is_relu or tensor.type != schema.TensorType.INT8:
            continue
        zero = add_tensor(graph, schema, b"zero", (), tensor.type, grid=(float(tensor.quantization.scale[0]), 0))
        buffer = schema.BufferT()
        buffer.data = np.zeros(1, np.uint8)
        model.buffers.append(buffer)
        graph.tensors[zero].buffer = len(model.buffers) - 1
        op.inputs = [int(op.inputs[0]), zero]
        op.opcodeIndex = _opcode(model, schema, schema.BuiltinOperator.ADD)
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


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
            is_known = index in replacement  # a constant that two operators share is shrunk once
            if not is_known and not _is_large_float_constant(model, graph, schema, index):
                continue
            if not is_known:
                tensor = graph.tensors[index]
                name, shape = tensor.name + b"_dequantized", tensor.shape
                shrink(model, schema, tensor)
                new = add_tensor(graph, schema, name, shape, schema.TensorType.FLOAT32)
                kind = schema.BuiltinOperator.DEQUANTIZE
                dequantizers.append(make_operator(model, schema, kind, [int(index)], [new]))
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
    tensor.type, tensor.quantization = schema.TensorType.INT8, make_quantization(schema, scale, 0)


def _to_fp16(model: Any, schema: Any, tensor: Any) -> None:
    model.buffers[tensor.buffer].data = _values(model, tensor).astype(np.float16).view(np.uint8)
    tensor.type = schema.TensorType.FLOAT16


def _values(model: Any, tensor: Any) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)


def add_tensor(
    graph: Any, schema: Any, name: bytes, shape: Any, kind: int, grid: tuple[float, int] | None = None
) -> int:
    """Append a tensor without a buffer, integers on `grid` if given, and return its index."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer, tensor.hasRank = name, list(shape), kind, 0, True
    if grid is not None:
        tensor.quantization = make_quantization(schema, *grid)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def make_quantization(schema: Any, scale: float, zero_point: int) -> Any:
    """Return the flatbuffer's form of one scale and zero point."""
    grid = schema.QuantizationParametersT()
    grid.scale, grid.zeroPoint, grid.quantizedDimension = [scale], [zero_point], 0
    return grid


def make_operator(model: Any, schema: Any, kind: int, inputs: list[int], outputs: list[int]) -> Any:
    """Return an operator of a builtin kind; the model's list of kinds grows where it must."""
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
