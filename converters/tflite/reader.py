"""Read a .tflite file's main graph, without any runtime or package.

Field numbers, types and operator codes are those of TensorFlow Lite's public schema (schema.fbs, file identifier TFL3).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from converters.flatbuffer import Table

IDENTIFIER = b"TFL3"
# The schema's TensorType and BuiltinOperator, in its order.
_DTYPES = """
    float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
    uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
"""
_OPERATORS = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION
    LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH
    CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
    EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR
    ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE
    RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND
    COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
    PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE
    HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
    BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1
    UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
    RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE
    STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE
    STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL
    STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
    STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE
    STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
    STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE
    DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT
    STABLEHLO_CASE
"""
DTYPES, OPERATORS = tuple(_DTYPES.split()), tuple(_OPERATORS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor.

    Attributes:
        data: Its bytes in the file; empty unless it is constant.
        scales, zero_points: One entry, one a channel along `axis`, or none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview = b""
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0

    @property
    def is_constant(self) -> bool:
        return len(self.data) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator; `inputs` and `outputs` index the model's tensors, an absent optional input is -1."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteModel:
    """The graph of a file's first signature, or its first graph; operators in the order in which they run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        return tuple(self.tensors[i] for i in self.inputs)

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        return tuple(self.tensors[i] for i in self.outputs)


def read_model(path: Path) -> TFLiteModel:
    """Read a .tflite file.

    Raises:
        ValueError: If it is missing, no .tflite model, or damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise ValueError(f"{path} is not a .tflite model (no TFL3 mark in its header)")
    try:
        return _read(Table.root(data))
    except (struct.error, IndexError) as e:
        raise ValueError(f"{path} is cut short or damaged") from e


def _read(root: Table) -> TFLiteModel:
    signatures = root.tables(7)
    graph = root.tables(2)[signatures[0].number(4, "I") if signatures else 0]
    buffers = root.tables(4)
    codes = [_kind(code) for code in root.tables(1)]
    tensors = tuple(_tensor(table, buffers) for table in graph.tables(0))
    # A runner that goes by the signature meets the tensors in its order, which need not be the graph's.
    ends = [tuple(t.number(1, "I") for t in signatures[0].tables(i)) for i in (0, 1)] if signatures else None
    inputs, outputs = ends or (graph.numbers(1), graph.numbers(2))
    operators = tuple(
        Operator(kind=codes[table.number(0, "I")], inputs=table.numbers(1), outputs=table.numbers(2))
        for table in graph.tables(3)
    )
    for index in (*inputs, *outputs, *(i for op in operators for i in (*op.inputs, *op.outputs) if i != -1)):
        if not 0 <= index < len(tensors):
            raise IndexError(f"tensor {index} is not there")
    return TFLiteModel(tensors=tensors, operators=operators, inputs=inputs, outputs=outputs)


def _kind(code: Table) -> str:
    # The code moved from a byte to an integer when there came to be more than 127 of them; the larger one counts.
    number = max(code.number(0, "b"), code.number(3))
    return OPERATORS[number] if 0 <= number < len(OPERATORS) else f"operator {number}"


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    code, grid = table.number(1, "b"), table.table(4)
    scales = grid.numbers(2, "f") if grid else ()
    return Tensor(
        name=table.text(3),
        dtype=DTYPES[code] if 0 <= code < len(DTYPES) else f"type {code}",
        shape=table.numbers(0),
        data=buffers[table.number(2, "I")].data(0),
        scales=scales,
        zero_points=(grid.numbers(3, "q") or (0,) * len(scales)) if grid and scales else (),
        axis=grid.number(6) if grid and scales else 0,
    )
