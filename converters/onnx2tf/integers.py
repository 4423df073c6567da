"""From onnx2tf's float flatbuffer to the file that we want: linear layers as such, and int8 on given grids.

onnx2tf writes good float files. Its own quantization chooses ranges itself and refuses attention; ai-edge-quantizer
would compute scales from ranges anew, a rounding away from those of the other formats. Here the grids come as they are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.onnx2tf.export import values_key
from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.reader import DTYPES, OPERATORS

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
        weight_scales: As `export.OnnxExport` has them.

    Raises:
        ValueError: If a quantized weight is not found, or two grids meet where values only move.
    """
    model = EditedModel(flatbuffer)
    join_linear_layers_(model)
    fuse_activations_(model)
    if grids:
        _Integers(model, grids, weight_scales).write()
    drop_unused_(model)
    return model.pack()


def join_linear_layers_(model: EditedModel) -> None:
    """Write matmuls with a constant, and the addition of a constant vector behind them, as FULLY_CONNECTED."""
    graph = model.graph
    readers: dict[int, list[Any]] = {}
    for op in graph.operators:
        for index in op.inputs:
            readers.setdefault(int(index), []).append(op)
    outputs = {int(index) for index in graph.outputs}
    joined = set()
    for i, op in enumerate(graph.operators):
        matrix = model.constant(int(op.inputs[1]), "float32") if model.kind(op) == "BATCH_MATMUL" else None
        if matrix is None or matrix.ndim != 2 or op.builtinOptions.adjX:
            continue
        weight = matrix if op.builtinOptions.adjY else matrix.T
        name, result = graph.tensors[op.inputs[1]].name, int(op.outputs[0])
        options = model.schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        bias, after = -1, readers.get(result, [])
        if len(after) == 1 and result not in outputs and model.kind(after[0]) == "ADD":
            addend = next(int(index) for index in after[0].inputs if int(index) != result)
            values = model.constant(addend, "float32")
            if values is not None and values.size == weight.shape[0] == (values.shape or (0,))[-1]:
                bias = model.add_constant(graph.tensors[addend].name, values.ravel())
                options.fusedActivationFunction = after[0].builtinOptions.fusedActivationFunction
                result = int(after[0].outputs[0])
                joined.add(id(after[0]))
        inputs = [int(op.inputs[0]), model.add_constant(name, weight), bias]
        graph.operators[i] = model.make_operator("FULLY_CONNECTED", inputs, [result], options)
    graph.operators = [op for op in graph.operators if id(op) not in joined]


def fuse_activations_(model: EditedModel) -> None:
    """Let the operator before a ReLU or a clip to 0..6 do it, where nothing else reads that operator.

    Operators between the two that only turn or reshape do not mind.
    """
    graph = model.graph
    makers = {int(op.outputs[0]): op for op in graph.operators}
    read = [int(index) for op in graph.operators for index in op.inputs] + [int(index) for index in graph.outputs]
    fused = set()
    for op in graph.operators:
        if model.kind(op) not in ("RELU", "RELU6"):
            continue
        last = maker = makers.get(int(op.inputs[0]))
        while maker is not None and read.count(int(maker.outputs[0])) == 1:
            if model.kind(maker) not in ("TRANSPOSE", "RESHAPE"):
                break
            maker = makers.get(int(maker.inputs[0]))
        if maker is None or model.kind(maker) not in _WEIGHTED | _ARITHMETIC:
            continue
        if maker.builtinOptions.fusedActivationFunction or read.count(int(maker.outputs[0])) > 1:
            continue
        maker.builtinOptions.fusedActivationFunction = getattr(model.schema.ActivationFunctionType, model.kind(op))
        last.outputs = op.outputs  # type: ignore[union-attr]
        makers[int(op.outputs[0])] = last
        fused.add(id(op))
    graph.operators = [op for op in graph.operators if id(op) not in fused]


def drop_unused_(model: EditedModel) -> None:
    """Drop the tensors that nothing reads any more, and empty the buffers of these."""
    graph = model.graph
    used = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs) if i >= 0}
    used |= {int(i) for i in (*graph.inputs, *graph.outputs)}
    renumbered = {old: new for new, old in enumerate(sorted(used))}
    for op in graph.operators:
        op.inputs = [renumbered.get(int(i), -1) for i in op.inputs]
        op.outputs = [renumbered[int(i)] for i in op.outputs]
    graph.inputs = [renumbered[int(i)] for i in graph.inputs]
    graph.outputs = [renumbered[int(i)] for i in graph.outputs]
    graph.tensors = [graph.tensors[i] for i in sorted(used)]
    for signature in model.model.signatureDefs or []:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = renumbered[entry.tensorIndex]
    read = {tensor.buffer for each in model.model.subgraphs for tensor in each.tensors}
    read |= {entry.buffer for entry in model.model.metadata or []}
    for i, buffer in enumerate(model.model.buffers):
        if i not in read:
            buffer.data = None


class _Integers:
    """Writes operators between gridded tensors in int8, and quantizes and dequantizes around all others."""

    def __init__(self, model: EditedModel, grids: Mapping[str, Grid], weight_scales: Mapping[str, np.ndarray]) -> None:
        self.model, self.graph = model, model.graph
        self.weight_scales, self.found = weight_scales, set[str]()
        self.constants: dict[tuple[int, Grid], int] = {}
        self.floats: dict[int, int] = {}
        tensors = enumerate(self.graph.tensors)
        self.grid = {i: grids[tensor.name.decode()] for i, tensor in tensors if tensor.name.decode() in grids}
        self._spread()

    def _spread(self) -> None:
        """Carry grids over operators that only move values, in both directions, until nothing is new."""
        movers = [self._activations(op) for op in self.graph.operators if self.model.kind(op) in _MOVING]
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
        return [int(i) for i in (*op.inputs, *op.outputs) if self.model.is_activation(int(i), "float32")]

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
            tensor.type, tensor.quantization = DTYPES.index("int8"), self.model.make_grid(*grid)
        missing = set(self.weight_scales) - self.found
        if missing:
            raise ValueError(f"onnx2tf's file lacks {len(missing)} of {len(self.weight_scales)} quantized weights")
        for code in self.model.model.operatorCodes:
            name = OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
            code.version = max(code.version, _INT8_VERSIONS.get(name, 1))

    def _is_int8(self, op: Any) -> bool:
        kind = self.model.kind(op)
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
                    before.append(self.model.make_operator("DEQUANTIZE", [index], [self.floats[index]]))
                op.inputs = [*op.inputs[:position], self.floats[index], *op.inputs[position + 1 :]]
        for position, index in enumerate(map(int, op.outputs)):
            if index in self.grid:
                twin = self._float_twin(index)
                after.append(self.model.make_operator("QUANTIZE", [twin], [index]))
                op.outputs = [*op.outputs[:position], twin, *op.outputs[position + 1 :]]
        return [*before, op, *after]

    def _float_twin(self, index: int) -> int:
        return self.model.add_tensor(self.graph.tensors[index].name + b"_float", self.model.shape(index), "float32")

    def _write_int8(self, op: Any) -> None:
        """Replace an operator's float constants; its activations change their type where they are listed."""
        kind = self.model.kind(op)
        if kind in _WEIGHTED:
            self._write_weight(op, axis=3 if kind == "DEPTHWISE_CONV_2D" else 0)
            return
        for position, index in enumerate(map(int, op.inputs)):
            values = self.model.constant(index, "float32")
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
            self.constants[index, grid] = self.model.add_constant(name, integers, self.model.make_grid(*grid))
        return self.constants[index, grid]

    def _weight_key(self, op: Any) -> str:
        values = self.model.constant(int(op.inputs[1]), "float32")
        return "" if values is None else values_key(values)

    def _write_weight(self, op: Any, axis: int) -> None:
        key = self._weight_key(op)
        self.found.add(key)
        scales = self.weight_scales[key]
        weight = self.model.constant(int(op.inputs[1]), "float32")
        assert weight is not None
        name = self.graph.tensors[int(op.inputs[1])].name
        along = scales.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        integers = np.clip(np.round(weight / along), -127, 127).astype(np.int8)
        grid = self.model.make_grid(scales.tolist(), axis=axis)
        inputs = [int(op.inputs[0]), self.model.add_constant(name, integers, grid)]
        bias = self.model.constant(int(op.inputs[2]), "float32") if len(op.inputs) > 2 else None
        if bias is not None:
            steps = (np.float32(self.grid[int(op.inputs[0])][0]) * scales).astype(np.float32)
            largest = np.iinfo(np.int32).max
            rounded = np.clip(np.round(bias.ravel().astype(np.float64) / steps), -largest, largest).astype(np.int32)
            bias_name = self.graph.tensors[int(op.inputs[2])].name
            inputs.append(self.model.add_constant(bias_name, rounded, self.model.make_grid(steps.tolist())))
        op.inputs = inputs if len(inputs) == 3 or len(op.inputs) < 3 else [*inputs, -1]
