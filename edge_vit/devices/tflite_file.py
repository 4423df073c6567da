"""Read what a .tflite file says of its inputs and outputs, without any runtime.

The file is a FlatBuffer; only the few tables between the root and the tensors are walked. Field numbers are those of
TensorFlow Lite's public schema (schema.fbs, file identifier TFL3).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
    12: "uint64",
    15: "uint32",
    16: "uint16",
}


# Operator codes of the same schema, as far as vision models use them.
OPERATORS = {
    0: "ADD",
    1: "AVERAGE_POOL_2D",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    5: "DEPTH_TO_SPACE",
    6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    21: "RELU6",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    25: "SOFTMAX",
    28: "TANH",
    34: "PAD",
    36: "GATHER",
    39: "TRANSPOSE",
    40: "MEAN",
    41: "SUB",
    42: "DIV",
    43: "SQUEEZE",
    45: "STRIDED_SLICE",
    47: "EXP",
    49: "SPLIT",
    53: "CAST",
    55: "MAXIMUM",
    57: "MINIMUM",
    59: "NEG",
    60: "PADV2",
    65: "SLICE",
    67: "TRANSPOSE_CONV",
    70: "EXPAND_DIMS",
    74: "SUM",
    75: "SQRT",
    76: "RSQRT",
    78: "POW",
    83: "PACK",
    92: "SQUARE",
    98: "LEAKY_RELU",
    99: "SQUARED_DIFFERENCE",
    101: "ABS",
    102: "SPLIT_V",
    111: "ELU",
    114: "QUANTIZE",
    117: "HARD_SWISH",
    126: "BATCH_MATMUL",
    130: "BROADCAST_TO",
    150: "GELU",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output of a model."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """The inputs and outputs of a model's first signature."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_interface(path: Path) -> Interface:
    """Read the inputs and outputs of a model.

    Raises:
        ValueError: If the file is not a .tflite model.
    """
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ValueError(f"{path} is not a .tflite model (no TFL3 mark in its header)")
    try:
        root = _Table(data, struct.unpack_from("<I", data)[0])
        signatures = root.tables(7)
        subgraph = root.tables(2)[signatures[0].number(4) if signatures else 0]
        tensors = subgraph.tables(0)
        # A runner that goes by the signature meets the tensors in its order, which need not be the subgraph's.
        ends = [[t.number(1) for t in signatures[0].tables(i)] for i in (0, 1)] if signatures else None
        inputs, outputs = ends or (subgraph.ints(1), subgraph.ints(2))
        return Interface(
            inputs=tuple(_tensor(tensors[i]) for i in inputs), outputs=tuple(_tensor(tensors[i]) for i in outputs)
        )
    except (struct.error, IndexError) as e:
        raise ValueError(f"{path} is cut short or damaged") from e


def read_operators(path: Path) -> list[str]:
    """Read the names of a model's operators, in the order in which they are executed.

    Raises:
        ValueError: If the file is not a .tflite model.
    """
    read_interface(path)
    data = path.read_bytes()
    root = _Table(data, struct.unpack_from("<I", data)[0])
    # The code moved from a byte to an integer when there came to be more than 127 of them; the larger one counts.
    codes = [max(code.byte(0), code.number(3)) for code in root.tables(1)]
    signatures = root.tables(7)
    subgraph = root.tables(2)[signatures[0].number(4) if signatures else 0]
    indices = [operator.number(0) for operator in subgraph.tables(3)]
    return [OPERATORS.get(codes[i], f"operator {codes[i]}") for i in indices]


def _tensor(table: "_Table") -> Tensor:
    code = table.byte(1)
    return Tensor(name=table.text(3), dtype=DTYPES.get(code, f"type {code}"), shape=tuple(table.ints(0)))


class _Table:
    """A FlatBuffer table at an offset of the file."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data, self.offset = data, offset
        self.vtable = offset - struct.unpack_from("<i", data, offset)[0]
        self.vtable_size = struct.unpack_from("<H", data, self.vtable)[0]

    def field(self, index: int) -> int | None:
        """Return where a field lies in the file, or None for its default."""
        entry = 4 + 2 * index
        if entry >= self.vtable_size:
            return None
        relative = struct.unpack_from("<H", self.data, self.vtable + entry)[0]
        return self.offset + relative if relative else None

    def byte(self, index: int) -> int:
        at = self.field(index)
        return 0 if at is None else self.data[at]

    def number(self, index: int) -> int:
        at = self.field(index)
        return 0 if at is None else struct.unpack_from("<I", self.data, at)[0]

    def text(self, index: int) -> str:
        start, length = self._vector(index)
        return self.data[start : start + length].decode(errors="replace")

    def ints(self, index: int) -> list[int]:
        start, length = self._vector(index)
        return list(struct.unpack_from(f"<{length}i", self.data, start))

    def tables(self, index: int) -> list["_Table"]:
        start, length = self._vector(index)
        offsets = struct.unpack_from(f"<{length}I", self.data, start)
        return [_Table(self.data, start + 4 * i + relative) for i, relative in enumerate(offsets)]

    def _vector(self, index: int) -> tuple[int, int]:
        at = self.field(index)
        if at is None:
            return 0, 0
        start = at + struct.unpack_from("<I", self.data, at)[0]
        return start + 4, struct.unpack_from("<I", self.data, start)[0]
