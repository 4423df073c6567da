"""Read a .tflite file and say what is in it: which operator runs in which precision, and where the integers stop.

A file that is called int8 may hold float operators, or integers that the runtime's fast kernels do not take. Nothing is
run here: types, scales and connections are read from the flatbuffer.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from converters.manifest import OperatorsInfo
from converters.tflite.reader import Tensor, TFLiteModel, read_model

Precision = Literal["int8", "int16", "weights_only", "fp16", "float32", "boundary", "constant", "other"]
IslandKind = Literal["head", "interior", "tail"]

# Operators with an int8 kernel in LiteRT's XNNPACK delegate; some only under the conditions of `_slow_reason`.
# All other int8 operators run in the interpreter's own kernels and cut the delegated graph in two.
XNNPACK_INT8 = frozenset({
    "ADD", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "ELU", "FULLY_CONNECTED",
    "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE", "RESHAPE", "RESIZE_BILINEAR", "SLICE", "SPLIT", "SUB",
    "TANH", "TRANSPOSE",
})  # fmt: skip

# Operators whose constant operand is a weight; elsewhere an int8 constant is only stored small.
_WEIGHTED = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "EMBEDDING_LOOKUP", "GATHER"}
)
# Ratios of input to output scale that XNNPACK takes, from, to below; of a product, the input scales' product.
_SCALE_RATIOS = {"ADD": (2.0**-10, 2.0**8), "SUB": (2.0**-10, 2.0**8), "MUL": (2.0**-16, 2.0**8)}
_FLOATS: tuple[Precision, ...] = ("float32", "fp16", "weights_only")


@dataclass(frozen=True, slots=True)
class OperatorInfo:
    """One operator; `inputs` and `outputs` index `Inspection.tensors`, an absent optional input is -1."""

    index: int
    type: str
    name: str
    precision: Precision
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FloatIsland:
    """Float operators that hang together in a file that also has integer ones.

    `kind` says where: at the model's input, at its output, or with integers on both sides.
    """

    kind: IslandKind
    operators: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class SlowOperator:
    """An int8 operator that XNNPACK leaves to slower kernels, and why."""

    index: int
    type: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a file holds, for its main graph."""

    tensors: tuple[Tensor, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    counts: dict[str, dict[str, int]]
    quantize: int
    dequantize: int
    float_islands: tuple[FloatIsland, ...]
    slow_path: tuple[SlowOperator, ...]

    def summary(self) -> OperatorsInfo:
        """Return the part that a manifest carries."""
        return OperatorsInfo(
            counts=self.counts,
            quantize=self.quantize,
            dequantize=self.dequantize,
            float_islands=tuple(island.name for island in self.float_islands),
        )


def inspect(path: str | Path) -> Inspection:
    """Read the main graph of a .tflite file.

    Raises:
        ValueError: If the file is missing, no TFLite flatbuffer, or damaged.
    """
    model = read_model(Path(path))
    try:
        return _inspect(model)
    except (IndexError, ArithmeticError, ValueError, TypeError) as e:  # operators without what their kind needs
        raise ValueError(f"{path} is cut short or damaged ({e})") from e


def readable_name(tensor: str) -> str:
    """Turn litert-torch's path of classes and attributes into the module's name; leave other names as they are.

    "__main__.Net/torch.nn.Sequential_stem/torch.nn.Conv2d_0;3" -> "stem.0"
    """
    first, is_path, _ = tensor.partition(";")
    if not is_path or not all("." in part for part in first.split("/")):
        return tensor
    leaves = [part.rsplit(".", 1)[-1] for part in first.split("/")]
    return ".".join(leaf.split("_", 1)[1] for leaf in leaves if "_" in leaf)


def _inspect(model: TFLiteModel) -> Inspection:
    tensors, operators = model.tensors, _operators(model)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for operator in operators:
        counts[operator.type][operator.precision] += 1
    return Inspection(
        tensors=tensors,
        operators=operators,
        inputs=model.inputs,
        outputs=model.outputs,
        counts={kind: dict(sorted(by.items())) for kind, by in sorted(counts.items())},
        quantize=sum(op.type == "QUANTIZE" for op in operators),
        dequantize=sum(op.type == "DEQUANTIZE" and op.precision != "constant" for op in operators),
        float_islands=_float_islands(operators, tensors, model.inputs, model.outputs),
        slow_path=_slow_path(operators, tensors),
    )


def _operators(model: TFLiteModel) -> tuple[OperatorInfo, ...]:
    tensors = model.tensors
    # A DEQUANTIZE of a constant only unpacks weights: its result counts as the constant that it is.
    unpacked = {
        op.outputs[0]: op.inputs[0]
        for op in model.operators
        if op.kind == "DEQUANTIZE" and tensors[op.inputs[0]].is_constant
    }
    return tuple(
        OperatorInfo(
            index,
            op.kind,
            readable_name(tensors[op.outputs[0]].name) if op.outputs else "",
            _precision(
                op.kind, [tensors[unpacked.get(i, i)] for i in op.inputs if i >= 0], [tensors[i] for i in op.outputs]
            ),
            op.inputs,
            op.outputs,
        )
        for index, op in enumerate(model.operators)
    )


def _precision(kind: str, inputs: list[Tensor], outputs: list[Tensor]) -> Precision:
    activations = [tensor.dtype for tensor in inputs if not tensor.is_constant] + [tensor.dtype for tensor in outputs]
    constants = {tensor.dtype for tensor in inputs if tensor.is_constant}
    if kind in ("QUANTIZE", "DEQUANTIZE") and {"float32", "float16"} & set(activations):
        if len(activations) > 1:
            return "boundary"
        return "constant"  # unpacked once, when the model is loaded
    if "float32" in activations:
        if "float16" in constants:
            return "fp16"
        has_int8_weights = kind in _WEIGHTED and constants & {"int8", "uint8", "int4", "int2"}
        return "weights_only" if has_int8_weights else "float32"
    if "float16" in activations:
        return "fp16"
    if "int16" in activations:
        return "int16"
    return "int8" if set(activations) & {"int8", "uint8"} else "other"


def _float_islands(
    operators: Sequence[OperatorInfo], tensors: Sequence[Tensor], inputs: Sequence[int], outputs: Sequence[int]
) -> tuple[FloatIsland, ...]:
    """Group float operators that share a float tensor; a file without integer operators has no islands."""
    if not any(op.precision in ("int8", "int16") for op in operators):
        return ()
    members = [op for op in operators if op.precision in _FLOATS and op.type not in ("QUANTIZE", "DEQUANTIZE")]
    leader = {op.index: op.index for op in members}

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    touching: dict[int, int] = {}
    for op in members:
        for tensor in _activations(op, tensors):
            if tensors[tensor].dtype.startswith("float"):
                first, second = sorted((find(touching.setdefault(tensor, op.index)), find(op.index)))
                leader[second] = first
    groups: dict[int, list[OperatorInfo]] = defaultdict(list)
    for op in members:
        groups[find(op.index)].append(op)
    return tuple(_island(group, operators, tensors, inputs, outputs) for group in groups.values())


def _island(
    group: list[OperatorInfo],
    operators: Sequence[OperatorInfo],
    tensors: Sequence[Tensor],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> FloatIsland:
    touched = {tensor for op in group for tensor in _activations(op, tensors)}
    # A CAST of integer pixels, or a DEQUANTIZE right at the input, still belongs to the head; likewise at the end.
    before = {t for op in operators if op.type == "DEQUANTIZE" and set(op.outputs) & touched for t in op.inputs}
    after = {t for op in operators if op.type == "QUANTIZE" and set(op.inputs) & touched for t in op.outputs}
    kind: IslandKind = "interior"
    if set(outputs) & (touched | after):
        kind = "tail"
    if set(inputs) & (touched | before):
        kind = "head"
    types = Counter(op.type for op in group)
    listed = ", ".join(f"{count} {name}" if count > 1 else name for name, count in types.items())
    where = next((op.name for op in group if op.name), f"operator {group[0].index}")
    return FloatIsland(kind, tuple(op.index for op in group), f"{listed} in {where}")


def _activations(op: OperatorInfo, tensors: Sequence[Tensor]) -> list[int]:
    return [i for i in op.inputs + op.outputs if i >= 0 and not tensors[i].is_constant]


def _slow_path(operators: Sequence[OperatorInfo], tensors: Sequence[Tensor]) -> tuple[SlowOperator, ...]:
    found = []
    for op in operators:
        reason = _slow_reason(op, tensors) if op.precision in ("int8", "int16") else None
        if reason:
            found.append(SlowOperator(op.index, op.type, op.name, reason))
    return tuple(found)


def _slow_reason(op: OperatorInfo, tensors: Sequence[Tensor]) -> str | None:
    if op.precision == "int16":
        return "no int16 kernel"
    if op.type not in XNNPACK_INT8:
        return "no int8 kernel"
    if op.type == "BATCH_MATMUL":
        right = tensors[op.inputs[1]]
        if any(tensors[i].dtype != "int8" for i in op.inputs[:2]):
            return "both sides must be int8"
        if any(right.zero_points):
            return f"right-hand side has zero point {right.zero_points[0]}, must be 0"
    if op.type == "FULLY_CONNECTED" and not tensors[op.inputs[1]].is_constant:
        return "computed weights, must be constant"
    if op.type in _SCALE_RATIOS:
        low, high = _SCALE_RATIOS[op.type]
        wrong = [ratio for ratio in _scale_ratios(op, tensors) if not low <= ratio < high]
        if wrong:
            return f"input scale is {wrong[0]:.3g} of the output's, must be from {low:.3g} to below {high:g}"
    if op.type == "MEAN":
        rank, axes_of = len(tensors[op.inputs[0]].shape), tensors[op.inputs[1]]
        axes = sorted(int(axis) % rank for axis in np.frombuffer(axes_of.data, axes_of.dtype))
        if axes not in ([1, 2], [2]):
            return f"mean over axes {axes}, must be [1, 2] or [2]"
    parts = len(op.inputs) if op.type == "CONCATENATION" else len(op.outputs)
    if op.type in ("CONCATENATION", "SPLIT") and not 2 <= parts <= 4:
        return f"{parts} parts, must be 2 to 4"
    return None


def _scale_ratios(op: OperatorInfo, tensors: Sequence[Tensor]) -> list[float]:
    scales = [tensors[i].scales[0] for i in (*op.inputs, *op.outputs)]
    if op.type == "MUL":
        return [scales[0] * scales[1] / scales[2]]
    return [scale / scales[2] for scale in scales[:2]]
