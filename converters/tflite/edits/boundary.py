"""Where a graph begins and ends in the types that apps have, and where integers end around float operators."""

from converters.tflite.edits.flatbuffer import EditedModel

# The lowering tool makes these int8 where they stand between two int8 values, and XNNPACK takes neither. The grid of
# what an int8 softmax gives is fixed to 1/256 besides. Others run as one lookup between a DEQUANTIZE and a QUANTIZE.
_FLOAT_ONLY = ("SOFTMAX", "GELU", "HARD_SWISH")
INPUT_NAME = "pixels"


def keep_integers_(model: EditedModel, names: tuple[str, ...]) -> None:
    """Leave both ends of a quantized graph as they are, and call them by their names.

    Raises:
        ValueError: If an end is no int8.
    """
    ends = {int(model.graph.inputs[0]): INPUT_NAME, **dict(zip(map(int, model.graph.outputs), names, strict=True))}
    for tensor, name in ends.items():
        if model.dtype(tensor) != "int8":
            raise ValueError(f"{name} is {model.dtype(tensor)} inside, no int8; leave --io int8 out")
        model.graph.tensors[tensor].name = name.encode()
    for signature in model.model.signatureDefs or []:
        for entry in (*signature.inputs, *signature.outputs):
            entry.name = ends[int(entry.tensorIndex)].encode()


def take_uint8_(model: EditedModel, has_floats: bool = True) -> None:
    """Put operators before the graph that turn uint8 pixels into what the graph reads.

    Args:
        has_floats: Whether the processor may take the way over floats, if it is the faster one.

    Raises:
        ValueError: If the graph reads something else than pixels, float32 or int8 (pixel - 128).
    """
    graph = model.graph
    (old,) = (int(index) for index in graph.inputs)
    tensor, dtype = graph.tensors[old], model.dtype(old)
    if dtype == "int8":
        scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
        if (scale, zero_point) != (1.0, -128):
            raise ValueError(f"input grid is {scale}, {zero_point}; pixels need scale 1, zero point -128")
    elif dtype != "float32":
        raise ValueError(f"input type {dtype} is not allowed; the graph must take float32 or int8 pixels")
    new = model.add_tensor(INPUT_NAME.encode(), model.shape(old), "uint8", model.make_grid(1.0))
    if dtype == "int8" and not has_floats:
        first = [model.make_operator("QUANTIZE", [new], [old])]
    elif dtype == "int8":
        # One QUANTIZE from uint8 to int8 would do, but XNNPACK does not take it. A DEQUANTIZE and a QUANTIZE it takes,
        # and runs the pair as one table lookup.
        middle = model.add_tensor(b"pixels_float", model.shape(old), "float32")
        first = [
            model.make_operator("DEQUANTIZE", [new], [middle]),
            model.make_operator("QUANTIZE", [middle], [old]),
        ]
    else:
        first = [model.make_operator("DEQUANTIZE", [new], [old])]
    graph.operators[:0] = first
    graph.inputs = [new]
    for signature in model.model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex, entry.name = new, INPUT_NAME.encode()


def give_float_(model: EditedModel, names: tuple[str, ...] = ("logits",)) -> None:
    """Dequantize the outputs, and call them by their names."""
    graph = model.graph
    found: dict[int, tuple[int, bytes]] = {}  # the outputs as they were: their new tensors and names
    for old, name in zip((int(index) for index in graph.outputs), names, strict=True):
        new = old
        if model.dtype(old) == "int8":
            new = model.add_tensor(name.encode(), model.shape(old), "float32")
            graph.operators.append(model.make_operator("DEQUANTIZE", [old], [new]))
        else:
            graph.tensors[old].name = name.encode()
        found[old] = new, name.encode()
    graph.outputs = [new for new, _ in found.values()]
    for signature in model.model.signatureDefs or []:
        for entry in signature.outputs:
            entry.tensorIndex, entry.name = found[int(entry.tensorIndex)]


def free_from_int8_(model: EditedModel) -> None:
    """Give every int8 operator of these a DEQUANTIZE before and a QUANTIZE after it, so that it computes in float."""
    operators = []
    for op in model.graph.operators:
        if model.kind(op) not in _FLOAT_ONLY or model.dtype(op.inputs[0]) != "int8":
            operators.append(op)
            continue
        before, after = int(op.inputs[0]), int(op.outputs[0])
        name = model.graph.tensors[after].name
        wide = model.add_tensor(name + b"_before", model.shape(before), "float32")
        result = model.add_tensor(name + b"_float", model.shape(after), "float32")
        operators.append(model.make_operator("DEQUANTIZE", [before], [wide]))
        op.inputs, op.outputs = [wide], [result]
        operators.append(op)
        operators.append(model.make_operator("QUANTIZE", [result], [after]))
    model.graph.operators = operators
