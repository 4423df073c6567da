"""Edits of an exported ONNX model: the outside that apps expect, and the forms in which runtimes compute in int8."""

from typing import Any

import numpy as np

from converters.onnx.graph import DEQUANTIZE, QUANTIZE, OnnxGraph, make_node

INPUT_NAME = "pixels"
RUNTIME_DOMAIN = "com.microsoft"
_MIN_HALF_VALUES = 16  # smaller constants stay as they are


def take_uint8_(graph: OnnxGraph) -> None:
    """Let the model take uint8 pixels where it took float ones; where it quantized these, they are what it made."""
    from onnx import TensorProto

    (source,) = graph.model.graph.input
    source.type.tensor_type.elem_type = TensorProto.UINT8
    readers = list(graph.readers[INPUT_NAME])
    pixels = [node for node in readers if node.op_type == QUANTIZE and str(graph.grid(node)) == "1 (-128)"]
    is_wide = bool(readers) and all(node.op_type == QUANTIZE and graph.is_wide(node) for node in readers)
    for node in pixels:
        for reader in graph.readers[node.output[0]]:
            replace_input_(reader, node.output[0], INPUT_NAME)
    if len(pixels) < len(readers):
        for node in readers:
            if node not in pixels:
                replace_input_(node, INPUT_NAME, f"{INPUT_NAME}_float")
        first = make_node("Cast", [INPUT_NAME], f"{INPUT_NAME}_float", to=TensorProto.FLOAT)
        if is_wide:  # nothing but changes of grid: an NPU without floats takes it
            grid = [
                graph.add_constant_("pixel", np.array(1.0, np.float32)),
                graph.add_constant_("zero", np.array(0, np.uint8)),
            ]
            first = make_node(DEQUANTIZE, [INPUT_NAME, *grid], f"{INPUT_NAME}_float")
        graph.nodes.insert(0, first)
    graph.nodes = [node for node in graph.nodes if node not in pixels]
    graph.index_()


def activations_to_unsigned_(graph: OnnxGraph) -> None:
    """Store activations, and constants that meet them, unsigned: the same integers, 128 more, or 32768 of 16 bits.

    Pixels are uint8 already, Qualcomm's NPUs take activations as uint8, and ONNX Runtime has fast kernels for uint8
    activations with int8 weights on x86, where it has none for two int8 sides. Weights, on a grid a channel, stay int8.
    """
    shifted: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type not in (QUANTIZE, DEQUANTIZE) or graph.is_per_channel(node):
            continue
        names = [node.input[2]] if node.op_type == QUANTIZE else [node.input[2], _stored(graph, node.input[0])]
        for name in names:
            value = graph.constants.get(name)
            if value is None or value.dtype not in (np.int8, np.int16):
                continue
            if name not in shifted:
                unsigned = np.dtype(np.uint8 if value.dtype == np.int8 else np.uint16)
                moved = (value.astype(np.int32) - np.iinfo(value.dtype).min).astype(unsigned)
                shifted[name] = graph.add_constant_(f"{name}_{unsigned.name}", moved)
    for node in graph.nodes:
        if node.op_type in (QUANTIZE, DEQUANTIZE) and graph.is_per_channel(node):
            continue
        for position, name in enumerate(node.input):
            node.input[position] = shifted.get(name, name)
    graph.index_()


def name_domains_(graph: OnnxGraph) -> None:
    """Say that quantize operators of 16 bits are ONNX Runtime's: ONNX has them from opset 21 on, which few read."""
    from onnx import helper

    wide = [node for node in graph.nodes if node.op_type in (QUANTIZE, DEQUANTIZE) and graph.is_wide(node)]
    for node in wide:
        node.domain = RUNTIME_DOMAIN
    if wide:
        graph.model.opset_import.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))


def own_weights_(graph: OnnxGraph) -> None:
    """Give each layer integers and zero points of its own: ONNX Runtime (1.32) rewrites them on x86, once a layer."""
    seen: set[str] = set()
    for node in [node for node in graph.nodes if node.op_type == DEQUANTIZE and graph.is_per_channel(node)]:
        for reader in graph.readers[node.output[0]][1:]:
            output = f"{node.output[0]}_of_{reader.name}"
            own = make_node(DEQUANTIZE, list(node.input), output)
            own.attribute.extend(node.attribute)
            graph.nodes.insert(graph.nodes.index(node) + 1, own)
            replace_input_(reader, node.output[0], output)
    for node in graph.nodes:
        if node.op_type != DEQUANTIZE or not graph.is_per_channel(node):
            continue
        weight = node.input[0]
        node.input[2] = graph.add_constant_(f"{weight}_zero", graph.constants[node.input[2]])
        if weight in seen:
            node.input[0] = graph.add_constant_(weight, graph.constants[weight])
        seen.add(weight)
    graph.index_()


def drop_allow_zero_(graph: OnnxGraph) -> None:
    """Leave out that a reshape may make empty axes, which none does and not every tool knows."""
    for node in graph.nodes:
        if node.op_type == "Reshape":
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)


def quantize_biases_(graph: OnnxGraph) -> None:
    """Store biases of int8 layers as int32, on the grid of the sums that they are added to.

    With activations of 16 bits these steps are so small that int32 cannot hold the bias of a channel whose weights are
    next to nothing. Such a channel's weights get a larger scale: what they lose is nothing beside the bias.
    """
    for node in list(graph.nodes):
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in graph.constants:
            continue
        sides = [graph.makers.get(name) for name in node.input[:2]]
        if any(side is None or side.op_type != DEQUANTIZE for side in sides):
            continue
        scale = graph.constants[sides[0].input[1]]  # type: ignore[union-attr]
        bias = graph.constants[node.input[2]].astype(np.float64)
        largest = np.iinfo(np.int32).max
        if graph.is_wide(sides[0]):
            _coarsen_(graph, sides[1], np.abs(bias) / (float(scale) * largest))
        steps = (scale * graph.constants[sides[1].input[1]]).astype(np.float32)  # type: ignore[union-attr]
        rounded = np.clip(np.round(bias / steps), -largest, largest).astype(np.int32)
        name = node.input[2]
        inputs = [graph.add_constant_(f"{name}_{what}", value) for what, value in (
            ("int32", rounded), ("scale", np.broadcast_to(steps, bias.shape)), ("zero", np.zeros(bias.shape, np.int32)),
        )]  # fmt: skip
        dequantize = make_node(DEQUANTIZE, inputs, f"{name}_of_{node.name}", axis=0)
        graph.nodes.insert(graph.nodes.index(node), dequantize)
        node.input[2] = dequantize.output[0]
    graph.index_()


def _coarsen_(graph: OnnxGraph, dequantize: Any, least: np.ndarray) -> None:
    """Bring scales of a layer's weights that are below `least` up to it, and the weights to that grid."""
    weight, scales = (graph.constants[name] for name in dequantize.input[:2])
    if not (scales < least).any():
        return
    axis = next((attribute.i for attribute in dequantize.attribute if attribute.name == "axis"), 1)
    coarser = np.maximum(scales, (least * (1 + 1e-6)).astype(np.float32))  # float32 may round it down
    shape = [-1 if i == axis % weight.ndim else 1 for i in range(weight.ndim)]
    moved = np.round(weight * (scales / coarser).astype(np.float64).reshape(shape)).astype(np.int8)
    for place, value in enumerate((moved, coarser)):
        dequantize.input[place] = graph.add_constant_(f"{dequantize.input[place]}_coarser", value)


def pool_planes_(graph: OnnxGraph) -> None:
    """Write the mean over the planes of a picture as GlobalAveragePool, which runtimes have in int8."""
    for node in graph.nodes:
        axes = graph.constants.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        if axes is not None and sorted(axes.tolist()) == [2, 3] and keeps:
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]
    graph.index_()


def store_half_(graph: OnnxGraph) -> None:
    """Store large float constants in half precision; runtimes widen them once, when they load the file."""
    from onnx import TensorProto

    for name, value in list(graph.constants.items()):
        if value.dtype != np.float32 or value.size < _MIN_HALF_VALUES or not graph.readers[name]:
            continue
        largest = float(np.finfo(np.float16).max)
        half = graph.add_constant_(f"{name}_half", np.clip(value, -largest, largest).astype(np.float16))
        del graph.constants[name]
        graph.nodes.insert(0, make_node("Cast", [half], name, to=TensorProto.FLOAT))
    graph.index_()


def _stored(graph: OnnxGraph, name: str) -> str:
    """Return the constant that a value is, or is spread from; "" for an activation."""
    while name not in graph.constants:
        if graph.maker(name) in ("", QUANTIZE):
            return ""
        name = graph.makers[name].input[0]
    return name


def replace_input_(node: object, old: str, new: str) -> None:
    """Read another value, wherever an operator reads the old one."""
    for position, name in enumerate(node.input):  # type: ignore[attr-defined]
        if name == old:
            node.input[position] = new  # type: ignore[attr-defined]
