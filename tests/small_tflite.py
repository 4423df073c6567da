"""Small .tflite models, built for a test and run in LiteRT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class T:
    """A tensor: its shape, or its values if it is constant; `shares` names another one whose buffer it has."""

    of: Any
    dtype: str = "float32"
    grid: tuple[float, int] | None = None
    shares: str = ""


def build(
    tensors: Mapping[str, Any], operators: Sequence[tuple[str, list[str], list[str], Any]], outputs: Sequence[str] = ()
) -> bytes:
    """Pack a model of one graph.

    Args:
        tensors: Name -> T, or its first argument; an array's type is its own. The first is the input.
        operators: (kind, inputs, outputs, options of the schema or None), in order; "" is a missing input.
        outputs: What the model gives; the last tensor if left out.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph, names = schema.ModelT(), schema.SubGraphT(), list(tensors)
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [graph]
    graph.tensors, graph.operators = [], []
    for name, given in tensors.items():
        value = given if isinstance(given, T) else T(given)
        tensor = _tensor(schema, name, value)
        graph.tensors.append(tensor)
        if value.shares:
            tensor.buffer = graph.tensors[names.index(value.shares)].buffer
        elif isinstance(value.of, np.ndarray):
            tensor.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(value.of.tobytes(), np.uint8)
    for kind, inputs, results, options in operators:
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        op.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        op.inputs, op.outputs = [names.index(n) if n else -1 for n in inputs], [names.index(n) for n in results]
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        graph.operators.append(op)
    graph.inputs, graph.outputs = [0], [names.index(name) for name in outputs or names[-1:]]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(schema: Any, name: str, value: T) -> Any:
    tensor, is_constant = schema.TensorT(), isinstance(value.of, np.ndarray)
    tensor.name, tensor.buffer, tensor.hasRank = name.encode(), 0, True
    tensor.type = getattr(schema.TensorType, (value.of.dtype.name if is_constant else value.dtype).upper())
    tensor.shape = list(value.of.shape if is_constant else value.of)
    if value.grid is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [value.grid[0]], [value.grid[1]]
    return tensor


def run(flatbuffer: bytes, array: np.ndarray) -> np.ndarray:
    """Run a model of one input and one output with LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=flatbuffer)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(source["index"], array)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])
