"""Read the int8 grids of every operator back from written files, and say whether formats share them.

A grid is a scale and a zero point. An operator is described by what every format must keep: its kind, its weights as
integers with their scales, the grids of the activations that it reads, and the grid of what it gives. Operators that
only move integers are left out: they keep the grid of what they read.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.readers import reader_of

# Suffix -> "module:function", imported when chosen; the function reads a file's operators.
READERS = {
    ".tflite": "converters.tflite.grids:read",
    ".pte": "converters.executorch.grids:read",
    ".mlpackage": "converters.coreml.grids:read",
    ".onnx": "converters.onnx.grids:read",
}


@dataclass(frozen=True, slots=True, order=True)
class Grid:
    """real = scale * (q - zero_point); the scale as float32 holds it."""

    scale: float
    zero_point: int

    def __str__(self) -> str:
        return f"{self.scale:.6g} ({self.zero_point:+d})"


@dataclass(frozen=True, slots=True)
class Int8Operator:
    """One operator that computes in int8.

    Attributes:
        kind: "gemm" (convolution or linear), "matmul", "add", "sub", "mul", "mean", "concat" or "sigmoid".
        name: As its format names it.
        inputs: Grids of the activations it reads, sorted, constants left out.
        weights: Digest of the integers of a gemm's weights as (O, H, W, I), and of their scales; "" without weights.
    """

    kind: str
    name: str
    inputs: tuple[Grid, ...]
    output: Grid
    weights: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What must be equal in every format."""
        return self.kind, self.inputs, self.output, self.weights

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {', '.join(map(str, self.inputs))} -> {self.output}"


@dataclass(frozen=True, slots=True)
class GridComparison:
    """A file's int8 operators against those of the graph it was made from.

    Attributes:
        shared: Operators whose kind, weights, scales and zero points are all equal.
        missing: Operators of the graph that the file does not hold so, in full.
        extra: Operators of the file that the graph does not hold so, in full.
    """

    shared: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        return not self.missing and not self.extra


def make_grid(scale: float, zero_point: int) -> Grid:
    return Grid(float(np.float32(scale)), int(zero_point))


def digest_weights(weights: np.ndarray, scales: Sequence[float] | np.ndarray) -> str:
    """Return a checksum of weights (O, H, W, I), int8, and their scales as float32."""
    plain = np.ascontiguousarray(weights.reshape(weights.shape[0], -1), np.int8)
    return hashlib.sha256(plain.tobytes() + np.asarray(scales, "<f4").reshape(-1).tobytes()).hexdigest()[:16]


def read_operators(path: Path) -> list[Int8Operator]:
    """Return the int8 operators of an artefact.

    Raises:
        ValueError: If no reader knows the suffix, or the file is damaged.
        ImportError: If the format's package is missing; the message names the extra.
    """
    return list(reader_of(READERS, path, "grids")(path))


def compare_operators(graph: Sequence[Int8Operator], file: Sequence[Int8Operator]) -> GridComparison:
    """Match a file's operators with the graph's, each at most once."""
    wanted, found = Counter(o.key for o in graph), Counter(o.key for o in file)
    shared = wanted & found
    return GridComparison(
        shared=sum(shared.values()),
        missing=tuple(map(str, _left(graph, wanted - found))),
        extra=tuple(map(str, _left(file, found - wanted))),
    )


def _left(operators: Sequence[Int8Operator], counts: Counter[tuple[object, ...]]) -> list[Int8Operator]:
    """Return the operators that `counts` says are left over; of equal ones the last."""
    left, counts = [], Counter(counts)
    for operator in reversed(operators):
        if counts[operator.key] > 0:
            counts[operator.key] -= 1
            left.append(operator)
    return left[::-1]


def wide_grid(scale: float, zero_point: int) -> tuple[float, int]:
    """Return scale and zero point of the 16-bit grid that reaches as far as an 8-bit one.

    Where that has nothing below zero, it saturates at zero as that does, so that no ReLU has to stand before it.
    """
    return (scale / 256.0, -32768) if zero_point == -128 else (wide_scale(scale, zero_point), 0)


def wide_scale(scale: float, zero_point: int) -> float:
    """Return the scale of the symmetric 16-bit grid that reaches as far as an 8-bit one.

    What holds 0 to 1 in 256 steps gets the 32768 steps that kernels ask for; pixels stay multiples of their steps.
    """
    return scale * max(128 + zero_point, 128 - zero_point) / 32768.0
