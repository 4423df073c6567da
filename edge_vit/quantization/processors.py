"""The processors that a file can be made for. Importing this loads no torch.

A processor is a value that `plan` takes; nothing else asks which one it is.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

_LINEAR = {"convolution", "linear", "matrix product"}
_ARITHMETIC = {"addition", "subtraction", "multiplication", "mean", "concatenation"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """What a kind of processor computes in int8, and what its kernels ask for.

    Attributes:
        what: One sentence for `convert --processor list`, and `source`, where that is written.
        precisions: Of the files that are made for it.
        targets: Formats of these files.
        int8: Kinds of operators that run in int8 where a file is int8; all others run in float.
        grids: Kind -> (scale, zero point), the only grid that kernels know for what such an operator gives.
        has_floats: Whether it can compute what is not in `int8`. Where it cannot, a layer norm is spelled out in kinds
            that are, and what still has no integer form is refused.
        has_plain_constants: Whether its kernels want constants in sums and products with as many axes as the other
            side, the first of length one.
    """

    name: str
    what: str
    source: str
    precisions: tuple[str, ...]
    targets: tuple[str, ...]
    int8: frozenset[str] = frozenset()
    grids: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    has_floats: bool = True
    has_plain_constants: bool = False


# Where softmax runs in float, the grid of its output is free: over 196 tokens most probabilities lie below one step of
# 1/256, and a grid up to the largest that occurs gains 5 dB a layer. Int8 kernels know 1/256 alone.
CPU = Processor(
    name="cpu",
    what="XNNPACK on ARM and x86 cores; attention biases and softmax in float, all else in int8.",
    source="instruction counts, docs/quantization.md",
    precisions=("fp32", "fp16", "int8"),
    targets=("tflite", "executorch", "coreml", "onnx"),
    int8=frozenset(_LINEAR | _ARITHMETIC | {"sigmoid"}),
    grids={"sigmoid": (1.0 / 256.0, -128)},
)
NPU = Processor(
    name="npu",
    what="integers only, for NPUs that know no floats: softmax, biases, norms and activations in int8, too.",
    source="Arm's compiler for Ethos-U, `vela --supported-ops-report`; LiteRT's int8 kernels for the grids",
    precisions=("int8", "int16"),
    targets=("tflite", "onnx"),
    int8=CPU.int8 | {"attention bias", "softmax", "hardswish", "gelu", "reciprocal root"},
    grids={**CPU.grids, "softmax": (1.0 / 256.0, -128)},
    has_floats=False,
)
GPU = Processor(
    name="gpu",
    what="LiteRT's GPU engine: a float file, best with --fp16; it refuses int8 files.",
    source="LiteRT.js on WebGPU, docs/processors.md",
    precisions=("fp32", "fp16"),
    targets=("tflite",),
    has_plain_constants=True,
)
PROCESSORS = {processor.name: processor for processor in (CPU, NPU, GPU)}


def find_processor(name: str) -> Processor:
    """Return a processor by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in PROCESSORS:
        near = difflib.get_close_matches(name, PROCESSORS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown processor {name!r}; choose from {', '.join(PROCESSORS)}{hint}")
    return PROCESSORS[name]


def check_request(processor: Processor, precision: str, targets: tuple[str, ...] | list[str]) -> None:
    """Raise ValueError where a processor takes no file of this precision or format."""
    if precision not in processor.precisions:
        flags = " or ".join("no precision flag" if one == "fp32" else f"--{one}" for one in processor.precisions)
        raise ValueError(f"--processor {processor.name} takes no {precision} file; use {flags}")
    if wrong := [target for target in targets if target not in processor.targets]:
        raise ValueError(
            f"--processor {processor.name} is not for {wrong[0]}; use --target {' or '.join(processor.targets)}"
        )


def explanation() -> list[str]:
    """Return what each processor is, line by line."""
    lines = []
    for processor in PROCESSORS.values():
        precisions, targets = ", ".join(processor.precisions), ", ".join(processor.targets)
        lines += [
            f"{processor.name:<4} {processor.what}",
            f"     files: {precisions}; {targets}",
            *([f"     int8: {', '.join(sorted(processor.int8))}"] if processor.int8 else []),
            f"     source: {processor.source}",
        ]
    return lines
