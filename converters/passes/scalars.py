"""Numbers that operators take as such, not as tensors."""

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_constant_, finish_, is_dequantize, is_quantize, shape_of

_ARITHMETIC = (ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor, ATEN.div.Tensor)


def quantize_scalars_(graph: GraphModule) -> int:
    """Give a whole number that is added to or multiplied with integers the form of a constant of its type.

    A plain number makes a partitioner take the whole operator for a float one. The constant has as many axes as its
    partner: with fewer, XNNPACK's lowering turns pictures to (B, C, H, W) and back around the operator.
    """
    changed = 0
    for node in list(graph.graph.nodes):
        is_binary = node.target in _ARITHMETIC[:3]
        if not is_binary or not is_dequantize(node.args[0]) or isinstance(node.args[1], Node):
            continue
        number = float(node.args[1])
        if not number.is_integer() or abs(number) > 127 or not all(is_quantize(user) for user in node.users):
            continue
        rank = len(shape_of(node.args[0]) or (1,))
        dequantize, dtype = node.args[0].target, node.args[0].args[5]
        assert isinstance(dtype, torch.dtype)
        constant = add_constant_(graph, node, torch.full((1,) * rank, int(number), dtype=dtype))
        largest = torch.iinfo(dtype).max
        with graph.graph.inserting_before(node):
            real = graph.graph.call_function(dequantize, (constant, 1.0, 0, -largest, largest, dtype))
        node.args = (node.args[0], real, *node.args[2:])
        changed += 1
    return finish_(graph, changed)


def float_scalars_(graph: GraphModule) -> int:
    """Write whole numbers among floats as floats; lowering would otherwise convert them at run time."""
    changed = 0
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        if node.target in _ARITHMETIC and is_float and type(node.args[1]) is int:
            node.args = (node.args[0], float(node.args[1]), *node.args[2:])
            changed += 1
    return finish_(graph, changed)
