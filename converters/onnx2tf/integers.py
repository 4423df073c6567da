"""From onnx2tf's float flatbuffer to the file that we want: linear layers as such, and int8 on given grids.

onnx2tf writes good float files. Its own quantization chooses ranges itself and refuses attention; ai-edge-quantizer
would compute scales from ranges anew, a rounding away from those of the other formats. Here the grids come as they are.

Works on the object form of the schema that the LiteRT package carries (tables named `...T`), typed `Any` here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.onnx2tf.export import values_key
from converters.tflite.edits.apply import add_tensor, make_operator, make_quantization

Grid = tuple[float, int]

# What comes out lies on the grid of what went in.
_MOVING = frozenset({
    "CONCATENATION", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE",
    "STRIDED_SLICE", "TRANSPOSE",
})  # fmt: skip
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_ARITHMETIC = frozenset({"ADD", "SUB", "MUL"})
_COMPUTING = _WEIGHTED | _ARITHMETIC | {"BATCH_MATMUL", "MEAN", "LOGISTIC", "AVERAGE_POOL_2D", "RELU"}
# The first version of each operator that says "int8"; the others say it in all versions.
_INT8_VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 5, "BATCH_MATMUL": 2, "ADD": 2, "SUB": 2, "MUL": 2,
    "MEAN": 2, "LOGISTIC": 2, "RELU": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2, "GATHER": 2, "MAX_POOL_2D": 2,
    "PAD": 2, "SLICE": 2, "SPLIT": 2, "SPLIT_V": 2, "STRIDED_SLICE": 2, "TRANSPOSE": 2, "DEQUANTIZE": 2,
}  # fmt: skip


def finish_onnx2tf(flatbuffer: bytes, grids: Mapping[str, Grid], weight_scales: Mapping[str, np.ndarray]) -> bytes:
    """Return the flatbuffer with fully connected operators and, where there are grids, in integers.

    Args:
        grids: Scale and zero point by tensor name; empty leaves the file in float.
        weight_scales: As `to_onnx.OnnxExport` has them.

    Raises:
        ValueError: If a quantized weight is not found, or two grids meet where values only move.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    editor = _Editor(model, schema)
    editor.join_linear_layers()
    editor.fuse_activations()
    if grids:
        _Integers(editor, grids, weight_scales).write()
    editor.drop_unused()
    builder = flatbuffers.Builder(len(flatbuffer) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Editor:
    """The main graph of a model, with what every edit needs."""

    def __init__(self, model: Any, schema: Any) -> None:
        self.model, self.schema, self.graph = model, schema, model.subgraphs[0]
        self.names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}

    def kind(self, op: Any) -> str:
        code = self.model.operatorCodes[op.opcodeIndex]
        return self.names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def constant(self, index: int) -> np.ndarray | None:
        """Return a float constant's values, None for anything else."""
        if index < 0:
            return None
        tensor = self.graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data) or tensor.type != self.schema.TensorType.FLOAT32:
            return None
        return np.frombuffer(bytes(data), np.float32).reshape(tuple(tensor.shape))

    def is_activation(self, index: int) -> bool:
        if index < 0:
            return False
        tensor = self.graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        return tensor.type == self.schema.TensorType.FLOAT32 and (data is None or not len(data))

    def add_constant(self, name: bytes, values: np.ndarray, quantization: Any = None) -> int:
        kinds = {"float32": "FLOAT32", "int8": "INT8", "int32": "INT32"}
        index = add_tensor(
            self.graph, self.schema, name, values.shape, getattr(self.schema.TensorType, kinds[values.dtype.name])
        )
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        self.graph.tensors[index].quantization = quantization
        return index

    def make(self, kind: str, inputs: list[int], outputs: list[int]) -> Any:
        return make_operator(self.model, self.schema, getattr(self.schema.BuiltinOperator, kind), inputs, outputs)

    def join_linear_layers(self) -> None:
        """Write matmuls with a constant, and the addition of a constant vector behind them, as FULLY_CONNECTED."""
        readers: dict[int, list[Any]] = {}
        for op in self.graph.operators:
            for index in op.inputs:
                readers.setdefault(int(index), []).append(op)
        outputs = {int(index) for index in self.graph.outputs}
        joined = set()
        for i, op in enumerate(self.graph.operators):
            matrix = self.constant(int(op.inputs[1])) if self.kind(op) == "BATCH_MATMUL" else None
            if matrix is None or matrix.ndim != 2 or op.builtinOptions.adjX:
                continue
            weight = matrix if op.builtinOptions.adjY else matrix.T
            name, result = self.graph.tensors[op.inputs[1]].name, int(op.outputs[0])
            options = self.schema.FullyConnectedOptionsT()
            options.keepNumDims = True
            bias, after = -1, readers.get(result, [])
            if len(after) == 1 and result not in outputs and self.kind(after[0]) == "ADD":
                addend = next(int(index) for index in after[0].inputs if int(index) != result)
                values = self.constant(addend)
                if values is not None and values.size == weight.shape[0] == (values.shape or (0,))[-1]:
                    bias = self.add_constant(self.graph.tensors[addend].name, values.ravel())
                    options.fusedActivationFunction = after[0].builtinOptions.fusedActivationFunction
                    result = int(after[0].outputs[0])
                    joined.add(id(after[0]))
            inputs = [int(op.inputs[0]), self.add_constant(name, weight), bias]
            linear = self.make("FULLY_CONNECTED", inputs, [result])
            linear.builtinOptionsType = self.schema.BuiltinOptions.FullyConnectedOptions
            linear.builtinOptions = options
            self.graph.operators[i] = linear
        self.graph.operators = [op for op in self.graph.operators if id(op) not in joined]

    def fuse_activations(self) -> None:
        """Let the operator before a ReLU or a clip to 0..6 do it, where nothing else reads that operator.

        Operators between the two that only turn or reshape do not mind.
        """
        makers = {int(op.outputs[0]): op for op in self.graph.operators}
        read = [int(index) for op in self.graph.operators for index in op.inputs] + [int(i) for i in self.graph.outputs]
        fused = set()
        for op in self.graph.operators:
            if self.kind(op) not in ("RELU", "RELU6"):
                continue
            last = maker = makers.get(int(op.inputs[0]))
            while maker is not None and read.count(int(maker.outputs[0])) == 1:
                if self.kind(maker) not in ("TRANSPOSE", "RESHAPE"):
                    break
                maker = makers.get(int(maker.inputs[0]))
            if maker is None or self.kind(maker) not in _WEIGHTED | _ARITHMETIC:
                continue
            if maker.builtinOptions.fusedActivationFunction or read.count(int(maker.outputs[0])) > 1:
                continue
            maker.builtinOptions.fusedActivationFunction = getattr(self.schema.ActivationFunctionType, self.kind(op))
            last.outputs = op.outputs  # type: ignore[union-attr]
            makers[int(op.outputs[0])] = last
            fused.add(id(op))
        self.graph.operators = [op for op in self.graph.operators if id(op) not in fused]

    def drop_unused(self) -> None:
        """Empty the buffers that nothing reads any more."""
        used = {int(i) for op in self.graph.operators for i in (*op.inputs, *op.outputs) if i >= 0}
        used |= {int(i) for i in (*self.graph.inputs, *self.graph.outputs)}
        renumbered = {old: new for new, old in enumerate(sorted(used))}
        for op in self.graph.operators:
            op.inputs = [renumbered.get(int(i), -1) for i in op.inputs]
            op.outputs = [renumbered[int(i)] for i in op.outputs]
        self.graph.inputs = [renumbered[int(i)] for i in self.graph.inputs]
        self.graph.outputs = [renumbered[int(i)] for i in self.graph.outputs]
        self.graph.tensors = [self.graph.tensors[i] for i in sorted(used)]
        for signature in self.model.signatureDefs or []:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = renumbered[entry.tensorIndex]
        read = {tensor.buffer for tensor in self.graph.tensors}
        read |= {entry.buffer for entry in self.model.metadata or []}
        for i, buffer in enumerate(self.model.buffers):
            if i not in read:
                buffer.data = None


class _Integers:
    """Writes operators between gridded tensors in int8, and quantizes and dequantizes around all others."""

    def __init__(self, editor: _Editor, grids: Mapping[str, Grid], weight_scales: Mapping[str, np.ndarray]) -> None:
        self.editor, self.graph, self.schema = editor, editor.graph, editor.schema
        self.weight_scales, self.found = weight_scales, set[str]()
        self.constants: dict[tuple[int, Grid], int] = {}
        self.floats: dict[int, int] = {}
        tensors = enumerate(self.graph.tensors)
        self.grid = {i: grids[tensor.name.decode()] for i, tensor in tensors if tensor.name.decode() in grids}
        self._spread()

    def _spread(self) -> None:
        """Carry grids over operators that only move values, in both directions, until nothing is new."""
        movers = [self._activations(op) for op in self.graph.operators if self.editor.kind(op) in _MOVING]
        before = -1
        while before != len(self.grid):
            before = len(self.grid)
            for tensors in movers:
                known = {self.grid[i] for i in tensors if i in self.grid}
                if len(known) > 1:
                    name = self.graph.tensors[tensors[-1]].name.decode()
                    raise ValueError(f"values move from one grid to another at {name}: {sorted(known)}")
                for grid in known:
                    self.grid.update(dict.fromkeys(tensors, grid))

    def _activations(self, op: Any) -> list[int]:
        return [int(i) for i in (*op.inputs, *op.outputs) if self.editor.is_activation(int(i))]

    def write(self) -> None:
        plan = [(op, self._is_int8(op)) for op in self.graph.operators]
        operators: list[Any] = []
        for op, is_int8 in plan:
            if is_int8:
                self._write_int8(op)
                operators.append(op)
            else:
                operators += self._surround(op)
        self.graph.operators = operators
        for i, grid in self.grid.items():
            tensor = self.graph.tensors[i]
            tensor.type, tensor.quantization = self.schema.TensorType.INT8, make_quantization(self.schema, *grid)
        missing = set(self.weight_scales) - self.found
        if missing:
            raise ValueError(f"onnx2tf's file lacks {len(missing)} of {len(self.weight_scales)} quantized weights")
        for code in self.editor.model.operatorCodes:
            name = self.editor.names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            code.version = max(code.version, _INT8_VERSIONS.get(name, 1))

    def _is_int8(self, op: Any) -> bool:
        kind = self.editor.kind(op)
        if kind not in _MOVING and kind not in _COMPUTING:
            return False
        if kind in _WEIGHTED and self._weight_key(op) not in self.weight_scales:
            return False
        activations = self._activations(op)
        return bool(activations) and all(i in self.grid for i in activations)

    def _surround(self, op: Any) -> list[Any]:
        """Give a float operator float tensors where the graph now holds integers."""
        before, after = [], []
        for position, index in enumerate(map(int, op.inputs)):
            if index in self.grid:
                if index not in self.floats:
                    self.floats[index] = self._float_twin(index)
                    before.append(self.editor.make("DEQUANTIZE", [index], [self.floats[index]]))
                op.inputs = [*op.inputs[:position], self.floats[index], *op.inputs[position + 1 :]]
        for position, index in enumerate(map(int, op.outputs)):
            if index in self.grid:
                twin = self._float_twin(index)
                after.append(self.editor.make("QUANTIZE", [twin], [index]))
                op.outputs = [*op.outputs[:position], twin, *op.outputs[position + 1 :]]
        return [*before, op, *after]

    def _float_twin(self, index: int) -> int:
        tensor = self.graph.tensors[index]
        return add_tensor(
            self.graph, self.schema, tensor.name + b"_float", tensor.shape, self.schema.TensorType.FLOAT32
        )

    def _write_int8(self, op: Any) -> None:
        """Replace an operator's float constants; its activations change their type where they are listed."""
        kind = self.editor.kind(op)
        if kind in _WEIGHTED:
            self._write_weight(op, axis=3 if kind == "DEPTHWISE_CONV_2D" else 0)
            return
        for position, index in enumerate(map(int, op.inputs)):
            values = self.editor.constant(index)
            if values is None:
                continue
            grid = self.grid[int(op.outputs[0])] if kind in _MOVING else self.grid.get(index)
            if grid is None:  # as in the qdq graph: symmetric, up to the largest value
                grid = (max(float(np.abs(values).max()), 1e-6) / 127.0, 0)
            op.inputs = [*op.inputs[:position], self._quantized(index, values, grid), *op.inputs[position + 1 :]]

    def _quantized(self, index: int, values: np.ndarray, grid: Grid) -> int:
        if (index, grid) not in self.constants:
            integers = np.clip(np.round(values / np.float32(grid[0])) + grid[1], -128, 127).astype(np.int8)
            name = self.graph.tensors[index].name
            quantization = make_quantization(self.schema, *grid)
            self.constants[index, grid] = self.editor.add_constant(name, integers, quantization)
        return self.constants[index, grid]

    def _weight_key(self, op: Any) -> str:
        values = self.editor.constant(int(op.inputs[1]))
        return "" if values is None else values_key(values)

    def _write_weight(self, op: Any, axis: int) -> None:
        key = self._weight_key(op)
        self.found.add(key)
        scales = self.weight_scales[key]
        weight = self.editor.constant(int(op.inputs[1]))
        assert weight is not None
        name = self.graph.tensors[int(op.inputs[1])].name
        along = scales.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        integers = np.clip(np.round(weight / along), -127, 127).astype(np.int8)
        inputs = [int(op.inputs[0]), self.editor.add_constant(name, integers, self._channel_grid(scales, axis))]
        bias = self.editor.constant(int(op.inputs[2])) if len(op.inputs) > 2 else None
        if bias is not None:
            steps = (np.float32(self.grid[int(op.inputs[0])][0]) * scales).astype(np.float32)
            largest = np.iinfo(np.int32).max
            rounded = np.clip(np.round(bias.ravel().astype(np.float64) / steps), -largest, largest).astype(np.int32)
            bias_name = self.graph.tensors[int(op.inputs[2])].name
            inputs.append(self.editor.add_constant(bias_name, rounded, self._channel_grid(steps, 0)))
        op.inputs = inputs if len(inputs) == 3 or len(op.inputs) < 3 else [*inputs, -1]

    def _channel_grid(self, scales: np.ndarray, axis: int) -> Any:
        grid = self.schema.QuantizationParametersT()
        grid.scale, grid.zeroPoint, grid.quantizedDimension = scales.tolist(), [0] * len(scales), axis
        return grid
