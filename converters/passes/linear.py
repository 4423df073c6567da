"""Linear layers over several axes."""

from typing import Any

from torch.fx import GraphModule, Node

from converters.passes.clamps import CLAMPS
from converters.passes.graph import ATEN, finish_, is_dequantize, shape_of
from converters.passes.qdq import add_qdq_, requantize_


def flatten_linear_(graph: GraphModule) -> int:
    """Give linear layers over (..., C) rows (N, C): a view before and a view behind, integers on their grids.

    With bias a layer of two axes is one operator of ONNX, Gemm; one of three would be a product and a float sum. The
    first axis, which may be a batch of any size, is left open. A ReLU or clip behind a layer stays behind it.
    """
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target == ATEN.linear.default]:
        shape, result = shape_of(node.args[0]), shape_of(node)
        if shape is None or result is None or len(shape) < 3:
            continue
        source, call = node.args[0], graph.graph.call_function
        with graph.graph.inserting_before(node):
            rows = call(ATEN.view.default, (source, [-1, shape[-1]]))
            if is_dequantize(source):
                rows = add_qdq_(graph, rows, source.args[1:], source.target)
            linear = call(ATEN.linear.default, (rows, *node.args[1:]))
            linear.meta = _without_shape(node)
            replaced = [node]
            if len(node.users) == 1 and (clamp := next(iter(node.users))).target in CLAMPS:
                linear = call(clamp.target, (linear, *clamp.args[1:]))
                linear.meta = _without_shape(clamp)
                replaced.insert(0, clamp)
            last = requantize_(graph, linear, replaced[0])
            replacement = call(ATEN.view.default, (last, [-1, *result[1:]]))
            replacement.meta["val"] = node.meta["val"]  # the next layer may read it, and asks for its shape
        replaced[0].replace_all_uses_with(replacement)
        for old in replaced:
            graph.graph.erase_node(old)
        changed += 1
    return finish_(graph, changed)


def _without_shape(node: Node) -> dict[str, Any]:
    return {key: value for key, value in node.meta.items() if key not in ("val", "tensor_meta")}
