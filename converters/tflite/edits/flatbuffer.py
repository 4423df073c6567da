"""The object form of a .tflite flatbuffer, which edits change.

Its tables are those of the schema that the LiteRT package carries (named `...T`), typed `Any` here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from converters.tflite.reader import DTYPES, IDENTIFIER, OPERATORS


class EditedModel:
    """A model in object form, owned by whoever edits it; the bytes that it was made from stay as they are.

    Tensors may share a buffer, and operators a tensor: what something else reads is never written to.
    """

    def __init__(self, flatbuffer: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model: Any = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
        self.graph: Any = self.model.subgraphs[0]
        self._first_size = len(flatbuffer) + 4096

    def pack(self) -> bytes:
        """Return the model as a flatbuffer."""
        import flatbuffers

        builder = flatbuffers.Builder(self._first_size)
        builder.Finish(self.model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())

    def kind(self, operator: Any) -> str:
        """Return the name of an operator's kind."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def dtype(self, tensor: int) -> str:
        return DTYPES[self.graph.tensors[tensor].type]

    def shape(self, tensor: int) -> tuple[int, ...]:
        shape = self.graph.tensors[tensor].shape
        return () if shape is None else tuple(int(size) for size in shape)

    def constant(self, tensor: int, dtype: str) -> np.ndarray | None:
        """Return a constant's values, None for an activation, another type, or a missing optional input (-1)."""
        if tensor < 0 or self.dtype(tensor) != dtype or not self._has_data(tensor):
            return None
        table = self.graph.tensors[tensor]
        data = np.asarray(self.model.buffers[table.buffer].data, np.uint8)
        return np.frombuffer(data, dtype).reshape(self.shape(tensor))

    def is_activation(self, tensor: int, dtype: str) -> bool:
        return tensor >= 0 and self.dtype(tensor) == dtype and not self._has_data(tensor)

    def _has_data(self, tensor: int) -> bool:
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def read_tensors(self, operators: Iterable[Any]) -> set[int]:
        """Return what operators read."""
        return {int(index) for op in operators for index in op.inputs}

    def add_tensor(self, name: bytes, shape: Iterable[int], dtype: str, quantization: Any = None) -> int:
        """Append an activation and return its index."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), DTYPES.index(dtype), 0
        tensor.hasRank, tensor.quantization = True, quantization
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add_constant(self, name: bytes, values: np.ndarray, quantization: Any = None) -> int:
        """Append a constant with a buffer of its own and return its index."""
        index = self.add_tensor(name, values.shape, values.dtype.name, quantization)
        self.graph.tensors[index].buffer = self._add_buffer(values)
        return index

    def replace_values(self, tensors: Sequence[int], values: np.ndarray, quantization: Any = None) -> None:
        """Give constants that share a buffer other values; where others share it too, these get a new one.

        Args:
            quantization: The new grid; None leaves the old one.
        """
        tables = [self.graph.tensors[index] for index in tensors]
        (old,) = {table.buffer for table in tables}
        tables_of_all = [table for graph in self.model.subgraphs for table in graph.tensors]
        readers = [table for table in (*tables_of_all, *(self.model.metadata or ())) if table.buffer == old]
        new = old if len(readers) == len(tables) else self._add_buffer(values)
        self.model.buffers[new].data = _as_bytes(values)
        for table in tables:
            table.buffer, table.type = new, DTYPES.index(values.dtype.name)
            table.quantization = table.quantization if quantization is None else quantization

    def retype(self, tensor: int, dtype: str, quantization: Any) -> None:
        """Give an activation another type and grid."""
        table = self.graph.tensors[tensor]
        table.type, table.quantization = DTYPES.index(dtype), quantization

    def add_twin(self, tensor: int) -> int:
        """Append a constant like another one, sharing its buffer, for operators that are to read something else."""
        table = self.graph.tensors[tensor]
        index = self.add_tensor(table.name, self.shape(tensor), self.dtype(tensor), table.quantization)
        self.graph.tensors[index].buffer = table.buffer
        return index

    def add_metadata(self, name: str, data: bytes) -> None:
        """Store a named piece of metadata; one of that name gives way."""
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = name.encode(), self._add_buffer(np.frombuffer(data, np.uint8))
        others = [known for known in self.model.metadata or () if known.name != entry.name]
        self.model.metadata = [*others, entry]

    def _add_buffer(self, values: np.ndarray) -> int:
        buffer = self.schema.BufferT()
        buffer.data = _as_bytes(values)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def make_grid(self, scale: float | Sequence[float], zero_point: int = 0, axis: int = 0) -> Any:
        """Return the flatbuffer's form of a grid; several scales are one a channel along `axis`."""
        scales = [scale] if isinstance(scale, float) else list(scale)
        grid = self.schema.QuantizationParametersT()
        grid.scale, grid.zeroPoint, grid.quantizedDimension = scales, [zero_point] * len(scales), axis
        return grid

    def make_operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> Any:
        """Return an operator, not yet in the graph; `options` is a table of the schema, or None."""
        operator = self.schema.OperatorT()
        operator.outputs = list(outputs)
        self.change_operator(operator, kind, inputs, options)
        return operator

    def change_operator(self, operator: Any, kind: str, inputs: Sequence[int], options: Any = None) -> None:
        """Make an operator one of another kind that gives the same outputs."""
        operator.inputs, operator.opcodeIndex = list(inputs), self._opcode(kind)
        name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, name) if options is not None else 0
        operator.builtinOptions = options

    def _opcode(self, kind: str) -> int:
        number = OPERATORS.index(kind)
        for i, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
                return i
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = 1 if kind == "RESHAPE" else 2  # of RESHAPE there is no second
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.frombuffer(values.tobytes(), np.uint8)
