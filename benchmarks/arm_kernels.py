"""What single operators of int8 vision transformers cost on emulated ARM cores, and what part is no arithmetic.

    python benchmarks/arm_kernels.py [--cpus cortex-a76 armv8.6-i8mm] [--output docs/arm.md] [--json]

Each line is a .tflite of one operator, of a size that levit_128s has. The slope over the depth of a product tells the
kernel's inner loop apart from what each of its results costs.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arm_counts import put_into

from converters.tflite.edits.flatbuffer import EditedModel
from edge_vit.devices import runner_build
from edge_vit.emulation import report, tflite
from edge_vit.emulation.cores import CPUS, core

BEGIN, END = "<!-- arm_kernels: begin -->", "<!-- arm_kernels: end -->"
GRID, WIDE = 0.05, 0.4
Shape = tuple[int, ...]


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=["cortex-a76", "armv8.6-i8mm"])
    parser.add_argument("--output", type=Path, metavar="FILE", help="a page to put the table into")
    parser.add_argument("--json", action="store_true")
    return parser


def model_of(
    kind: str,
    inputs: Sequence[Shape],
    output: Shape,
    *,
    dtypes: tuple[str, str] = ("int8", "int8"),
    constants: Sequence[np.ndarray] = (),
    options: Callable[[Any], Any] = lambda schema: None,
) -> bytes:
    """Return a model of one operator; constants of int8 have a scale a channel, of int32 that of a bias."""
    from ai_edge_litert import schema_py_generated as schema

    given = schema.ModelT()
    given.version, given.buffers, given.operatorCodes, given.subgraphs = 3, [schema.BufferT()], [], [schema.SubGraphT()]
    given.subgraphs[0].tensors, given.subgraphs[0].operators = [], []
    import flatbuffers

    builder = flatbuffers.Builder(256)
    builder.Finish(given.Pack(builder), file_identifier=b"TFL3")
    model = EditedModel(bytes(builder.Output()))
    model.graph.tensors, model.graph.operators, model.model.operatorCodes = [], [], []
    grid = {"int8": model.make_grid(GRID)}
    first = [model.add_tensor(b"x%d" % i, shape, dtypes[0], grid.get(dtypes[0])) for i, shape in enumerate(inputs)]
    held = []
    for values in constants:
        scales = {"int8": [0.01], "int32": [GRID * 0.01]}
        quantized = values.ndim and kind in ("FULLY_CONNECTED", "CONV_2D")
        own = model.make_grid(scales[values.dtype.name] * values.shape[0]) if quantized else None
        held.append(model.add_constant(b"c", values, own))
    wide = model.make_grid(WIDE) if kind not in ("TRANSPOSE", "RESHAPE") else grid["int8"]
    result = model.add_tensor(b"y", output, dtypes[1], wide if dtypes[1] == "int8" else None)
    model.graph.operators = [model.make_operator(kind, [*first, *held], [result], options(schema))]
    model.graph.inputs, model.graph.outputs = first, [result]
    return model.pack()


def fully_connected(rows: int, depth: int, columns: int) -> bytes:
    weights = np.ones((columns, depth), np.int8)
    return model_of(
        "FULLY_CONNECTED", [(rows, depth)], (rows, columns), constants=[weights, np.zeros(columns, np.int32)],
        options=lambda schema: schema.FullyConnectedOptionsT(),
    )  # fmt: skip


def convolution(side: int, channels: int, filters: int, *, in_pairs: bool = False) -> bytes:
    """Return a 3x3 convolution of stride 2; `in_pairs`, pairs of pixels are pixels of twice the channels, 3x2."""

    def options(schema: Any) -> Any:
        made = schema.Conv2DOptionsT()
        made.padding, made.strideH, made.strideW = 1, 2, 1 if in_pairs else 2
        made.dilationHFactor = made.dilationWFactor = 1
        return made

    half, wide = side // 2, 2 if in_pairs else 1
    weights = np.ones((filters, 3, 4 - wide if in_pairs else 3, channels * wide), np.int8)
    shapes = [(1, side + 1, (side + wide) // wide, channels * wide)], (1, half, half, filters)
    return model_of("CONV_2D", *shapes, constants=[weights, np.zeros(filters, np.int32)], options=options)


def product(heads: int, rows: int, depth: int, columns: int, *, by_columns: bool) -> bytes:
    def options(schema: Any) -> Any:
        made = schema.BatchMatMulOptionsT()
        made.adjY = by_columns
        return made

    right = (heads, columns, depth) if by_columns else (heads, depth, columns)
    return model_of("BATCH_MATMUL", [(heads, rows, depth), right], (heads, rows, columns), options=options)


def softmax(heads: int, rows: int, columns: int) -> bytes:
    def options(schema: Any) -> Any:
        made = schema.SoftmaxOptionsT()
        made.beta = 1.0
        return made

    shape = (heads, rows, columns)
    return model_of("SOFTMAX", [shape], shape, dtypes=("float32", "float32"), options=options)


def transpose(shape: Shape, order: Sequence[int]) -> bytes:
    turned = tuple(shape[axis] for axis in order)
    return model_of("TRANSPOSE", [shape], turned, constants=[np.array(order, np.int32)])


def addition(shape: Shape) -> bytes:
    return model_of("ADD", [shape, shape], shape, options=lambda schema: schema.AddOptionsT())


def conversion(shape: Shape, kind: str) -> bytes:
    dtypes = ("float32", "int8") if kind == "QUANTIZE" else ("int8", "float32")
    return model_of(kind, [shape], shape, dtypes=dtypes)


def measure(cpu: str) -> list[tuple[str, float, str]]:
    """Return what is measured on a core: a name, a figure and its unit."""
    tools = tflite.prepare()

    def count(data: bytes, in_half: bool = False) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.tflite"
            path.write_bytes(data)
            is_half = in_half and core(cpu).has_half
            profile = tflite.emulate(path, cpu, runs=1, with_profile=True, in_half=is_half, toolchain=tools).profile
        assert profile is not None
        return max(operator.instructions for operator in profile.operators)

    shallow, deep = (count(fully_connected(64, depth, 64)) for depth in (256, 512))
    loop = (deep - shallow) / (64 * 64 * 256)
    rate, result, element = "multiply-adds an instruction", "instructions a result", "instructions an element"
    found = [
        ("FULLY_CONNECTED, inner loop", 1 / loop, rate),
        ("FULLY_CONNECTED, around it", (shallow - loop * 64 * 64 * 256) / (64 * 64), result),
    ]
    alone, even, odd = (count(fully_connected(rows, 256, 512)) for rows in (1, 48, 49))
    found.append(("FULLY_CONNECTED 256 to 512, one row alone", alone / 512, result))
    found.append(("FULLY_CONNECTED 256 to 512, 48 rows", even / (48 * 512), result))
    found.append(("FULLY_CONNECTED 256 to 512, the 49th row", (odd - even) / 512, result))
    sizes = ((3, 16, 224, False), (3, 16, 224, True), (16, 32, 112, False), (64, 128, 28, False))
    for channels, filters, side, in_pairs in sizes:
        cost = count(convolution(side, channels, filters, in_pairs=in_pairs))
        name = f"CONV_2D 3x3, {channels} to {filters} channels{', pairs of pixels as one' * in_pairs}"
        found.append((name, (side // 2) ** 2 * filters * 9 * channels / cost, rate))
    for name, rows, depth, columns in (("scores", 196, 16, 196), ("values", 196, 196, 32)):
        for by_columns in (False, True):
            cost = count(product(4, rows, depth, columns, by_columns=by_columns))
            packing = count(product(4, 1, depth, columns, by_columns=by_columns))
            how = f"BATCH_MATMUL, {name} ({'columns, depth' if by_columns else 'depth, columns'})"
            found.append((how, 4 * rows * depth * columns / cost, rate))
            found.append((f"{how}, one row: nearly all is packing", packing / (4 * depth * columns), element))
    scores = (4, 196, 196)
    size = float(np.prod(scores))
    found.append(("SOFTMAX float32, rows of 196", count(softmax(*scores)) / size, element))
    if core(cpu).has_half:
        found.append(("SOFTMAX float16, rows of 196", count(softmax(*scores), True) / size, element))
    found.append(("DEQUANTIZE to float32", count(conversion(scores, "DEQUANTIZE")) / size, element))
    found.append(("QUANTIZE of float32", count(conversion(scores, "QUANTIZE")) / size, element))
    found.append(("ADD int8", count(addition((1, 196, 128))) / (196 * 128), element))
    heads = count(transpose((1, 196, 4, 16), (0, 2, 1, 3))) / (196 * 64)
    found.append(("TRANSPOSE, heads of 16 channels", heads, element))
    found.append(("TRANSPOSE, heads by columns", count(transpose((1, 196, 4, 16), (0, 2, 3, 1))) / (196 * 64), element))
    return found


def table(found: dict[str, list[tuple[str, float, str]]]) -> str:
    """Return the Markdown table, a column a core."""
    cpus = list(found)
    names = dict.fromkeys((name, unit) for rows in found.values() for name, _, unit in rows)
    values = {(cpu, name): value for cpu, rows in found.items() for name, value, _ in rows}
    lines = [f"| operator, int8 unless said | {' | '.join(cpus)} | unit |", f"|---|{'---:|' * len(cpus)}---|"]
    for name, unit in names:
        cells = [f"{values[cpu, name]:.1f}" if (cpu, name) in values else "-" for cpu in cpus]
        lines.append(f"| {name} | {' | '.join(cells)} | {unit} |")
    return "\n".join([*lines, "", f"{report.WHAT_IT_IS} LiteRT {runner_build.litert_version()}."])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        found = {cpu: measure(cpu) for cpu in arguments.cpus}
        text = table(found)
        if arguments.output:
            put_into(arguments.output, text, (BEGIN, END))
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if arguments.json else text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
