"""The graph of a .tflite file."""

from pathlib import Path

from converters.network import NetworkOperator, gemm_multiply_adds, matmul_multiply_adds
from converters.tflite.inspect import Inspection, OperatorInfo, inspect


def read(path: Path) -> list[NetworkOperator]:
    """Return a file's operators in its own order; what unpacks constants once, when the file is loaded, is left out.

    Raises:
        ValueError: If the file is missing, no TFLite flatbuffer, or damaged.
    """
    inspection = inspect(path)
    unpacked = {op.outputs[0]: op.inputs[0] for op in inspection.operators if op.precision == "constant"}
    found: list[NetworkOperator] = []
    made_by: dict[int, int] = {}
    seen: set[int] = set()
    for operator in inspection.operators:
        if operator.precision == "constant":
            continue
        wanted = [unpacked.get(i, i) for i in operator.inputs if i >= 0]
        stored = {i for i in wanted if inspection.tensors[i].is_constant} - seen
        seen |= stored
        found.append(
            NetworkOperator(
                kind=operator.type,
                name=operator.name,
                precision=operator.precision,
                sources=tuple(dict.fromkeys(made_by[i] for i in wanted if i in made_by)),
                shape=inspection.tensors[operator.outputs[0]].shape if operator.outputs else (),
                multiply_adds=_multiply_adds(inspection, operator),
                constant_bytes=sum(len(inspection.tensors[i].data) for i in stored),
            )
        )
        made_by |= dict.fromkeys(operator.outputs, len(found) - 1)
    return found


def _multiply_adds(inspection: Inspection, operator: OperatorInfo) -> int:
    if operator.type not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"):
        return 0
    left, right = (inspection.tensors[i].shape for i in operator.inputs[:2])
    given = inspection.tensors[operator.outputs[0]].shape
    return matmul_multiply_adds(left, given) if operator.type == "BATCH_MATMUL" else gemm_multiply_adds(right, given)
