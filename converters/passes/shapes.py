"""Operators that move values, in the forms that plan and runtimes know: numbers for sizes, slices and joins."""

import operator
from typing import Any

from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_call_, finish_, shape_of


def plain_moves_(graph: GraphModule) -> int:
    """Write reshape_as and view_as with numbers, unbind as selections, roll as slices that are joined."""
    changed = 0
    for node in list(graph.graph.nodes):
        new = _plain(graph, node) if node.op == "call_function" and not node.kwargs else None
        if new is not None:
            node.replace_all_uses_with(new)
            graph.graph.erase_node(node)
            changed += 1
        elif node.target == ATEN.unbind.int:
            axis = node.args[1] if len(node.args) > 1 else 0
            for user in list(node.users):
                assert user.target is operator.getitem
                piece = add_call_(graph, user, ATEN.select.int, node.args[0], axis, user.args[1])
                user.replace_all_uses_with(piece)
                graph.graph.erase_node(user)
            graph.graph.erase_node(node)
            changed += 1
    return finish_(graph, changed)


def _plain(graph: GraphModule, node: Node) -> Node | None:
    if node.target in (ATEN.reshape_as.default, ATEN.view_as.default):
        return add_call_(graph, node, ATEN.reshape.default, node.args[0], sizes_of(node))
    if node.target == ATEN.roll.default and len(node.args) > 2:
        x: Any = node.args[0]
        for shift, axis in zip(node.args[1], node.args[2], strict=True):  # type: ignore[arg-type]
            size = int((shape_of(x) or ())[axis])
            at = -int(shift) % size
            if at:
                ends = (add_call_(graph, node, ATEN.slice.Tensor, x, axis, *ends) for ends in ((at, size), (0, at)))
                x = add_call_(graph, node, ATEN.cat.default, list(ends), axis)
        return x  # type: ignore[no-any-return]
    return None


def sizes_of(node: Node) -> list[int]:
    """Return the sizes of a value for a reshape; the first may be open."""
    first, *rest = shape_of(node) or ()
    return [first if isinstance(first, int) else -1, *(int(size) for size in rest)]
