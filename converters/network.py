"""The operators of a written file as one graph, whatever its format: what each reads, computes in, and costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.readers import reader_of

# Suffix -> "module:function", imported when chosen; the function reads a file's operators.
READERS = {
    ".tflite": "converters.tflite.network:read",
    ".pte": "converters.executorch.network:read",
    ".mlpackage": "converters.coreml.network:read",
    ".onnx": "converters.onnx.network:read",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOperator:
    """One operator, in the order in which the file runs them.

    Attributes:
        kind: As the format calls it.
        name: The module that it came from, "" where the format does not keep it.
        precision: As in `OperatorsInfo.counts`; "boundary" for what changes the precision.
        sources: Operators whose results it reads, by their place in the list.
        shape: What it gives, () where the file does not say.
        multiply_adds: Of convolutions, linear layers and matrix products; 0 for all others.
        constant_bytes: Of the weights and tables that no operator before it reads.
    """

    kind: str
    name: str
    precision: str
    sources: tuple[int, ...]
    shape: tuple[int, ...]
    multiply_adds: int
    constant_bytes: int


def read_network(path: Path) -> list[NetworkOperator]:
    """Return the operators of an artefact; those that only unpack constants are left out.

    Raises:
        ValueError: If no reader knows the suffix, or the file is damaged.
        ImportError: If the format's package is missing; the message names the extra.
    """
    return list(reader_of(READERS, path, "networks")(path))


def gemm_multiply_adds(weights: Sequence[int], given: Sequence[int], channels_at: int = -1) -> int:
    """Count the products that a convolution or a linear layer adds up, from the shapes of weights and result."""
    return math.prod(given) * math.prod(weights) // max(given[channels_at], 1)


def matmul_multiply_adds(left: Sequence[int], given: Sequence[int]) -> int:
    """Count the products that a matrix product adds up, from the shapes of its first factor and its result."""
    return math.prod(left) * given[-1]
