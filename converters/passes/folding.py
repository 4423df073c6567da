"""What a graph computes from its weights alone, computed once; and operators that change nothing."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, add_known_constant_, add_parameter_, finish_, get_tensor, shape_of

_SAME_TYPE = (ATEN.to.dtype, ATEN.to.dtype_layout, ATEN._to_copy.default, ATEN.type_as.default, ATEN.to.device)
_ARITHMETIC = (ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor, ATEN.div.Tensor)
_IDLE = (ATEN.lift_fresh_copy.default, ATEN.detach.default, ATEN.alias.default, ATEN.lift_fresh.default)


def drop_idle_(graph: GraphModule) -> int:
    """Remove what gives its input again: dropout in eval mode, casts to the same type, detach."""
    changed = 0
    for node in list(graph.graph.nodes):
        is_checks = node.op == "call_module" and node.target == "_guards_fn"
        if is_checks or _is_idle(node):
            if not is_checks:
                node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
            changed += 1
        elif node.op == "call_function" and "assert" in str(node.target).lower():
            graph.graph.erase_node(node)
            changed += 1
    return finish_(graph, changed)


def drop_broadcasts_(graph: GraphModule) -> int:
    """Let sums and products spread a value themselves where it is expanded for them alone.

    LiteRT's converter turns the axes of pictures around such an expand, and then finds the shapes unfit.
    """
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target in (ATEN.expand.default, ATEN.expand_as.default)]:
        for user in list(node.users):
            if user.target not in _ARITHMETIC or user.args[0] is user.args[1]:
                continue
            (other,) = (one for one in user.args[:2] if one is not node)
            if isinstance(other, Node) and shape_of(other) is not None and shape_of(other) == shape_of(user):
                user.replace_input_with(node, node.args[0])  # type: ignore[arg-type]
                changed += 1
        if not node.users:
            graph.graph.erase_node(node)
    return finish_(graph, changed)


def _is_idle(node: Node) -> bool:
    source = node.args[0] if node.op == "call_function" and node.args else None
    if not isinstance(source, Node):
        return False
    if node.target in (ATEN.dropout.default, ATEN.feature_dropout.default):
        return len(node.args) > 2 and node.args[2] is False
    if node.target in _SAME_TYPE:
        before, after = source.meta.get("val"), node.meta.get("val")
        return isinstance(before, Tensor) and isinstance(after, Tensor) and before.dtype == after.dtype
    if node.target == ATEN.expand.default:
        return shape_of(source) == shape_of(node)
    return node.target in _IDLE


def fold_constants_(graph: GraphModule) -> int:
    """Store what is computed from parameters, buffers and numbers alone; of a parameter it stays one that trains.

    A constant that is only spread over the batch stays as it is stored.
    """
    changed = 0
    for node in list(graph.graph.nodes):
        if not _is_foldable(node):
            continue
        with torch.no_grad():
            arguments, named = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: get_tensor(graph, n).detach())
            value: Any = node.target(*arguments, **named)  # type: ignore[operator]
        if not isinstance(value, Tensor):
            continue
        value = value.clone().contiguous()
        sources = [_attribute(graph, source) for source in node.all_input_nodes]
        is_trained = value.is_floating_point() and any(isinstance(one, torch.nn.Parameter) for one in sources)
        stored = (
            add_parameter_(graph, node, "", "_folded", value) if is_trained else add_known_constant_(graph, node, value)
        )
        node.replace_all_uses_with(stored)
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)


def known_value(graph: GraphModule, node: Any) -> Tensor | None:
    """Return what a node gives whatever the picture, for a batch of one; None where it depends on the picture."""

    def value_of(source: Node) -> Any:
        if source.op == "get_attr":
            return get_tensor(graph, source).detach()
        if source.target == ATEN.sym_size.int:
            size = source.meta["val"]
            return size if isinstance(size, int) else 1
        is_random = torch.Tag.nondeterministic_seeded in getattr(source.target, "tags", ())
        if source.op != "call_function" or is_random:
            raise LookupError(source.name)
        arguments, named = torch.fx.node.map_arg((source.args, source.kwargs), value_of)
        return source.target(*arguments, **named)  # type: ignore[operator]

    try:
        with torch.no_grad():
            value = value_of(node) if isinstance(node, Node) else None
    except (LookupError, RuntimeError, TypeError):
        return None
    value = value.clone() if isinstance(value, Tensor) else None
    return (
        value if value is None or value.dim() < 3 or value.shape[0] == 1 else value[:1] if _is_spread(value) else None
    )


def _is_spread(value: Tensor) -> bool:
    """Tell whether all pictures of a batch have the same."""
    return bool((value == value[:1]).all())


def _attribute(graph: GraphModule, node: Node) -> Any:
    value: Any = graph
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value


def _is_foldable(node: Node) -> bool:
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload) or not node.users:
        return False
    if torch.Tag.nondeterministic_seeded in target.tags or target._schema.is_mutable:
        return False
    value = node.meta.get("val")
    if target == ATEN.expand.default or not isinstance(value, Tensor):
        return False
    if any(not isinstance(size, int) for size in value.shape):
        return False
    return all(source.op == "get_attr" for source in node.all_input_nodes)
