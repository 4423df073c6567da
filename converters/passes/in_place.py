"""Operators that write into what they read, as operators that give something new."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, finish_


def without_in_place_(graph: GraphModule) -> int:
    """Write relu_(x) as relu(x), and so on; whoever read `x` afterwards reads the result.

    Raises:
        ValueError: If such an operator writes into a part of a tensor that is read as a whole afterwards.
    """
    order = {node: i for i, node in enumerate(graph.graph.nodes)}
    changed = 0
    for node in list(graph.graph.nodes):
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None or not schema.is_mutable or not node.args:
            continue
        functional = _functional(node.target)
        written = node.args[0]
        if functional is None or not isinstance(written, Node):
            raise ValueError(f"{node.target} writes into its argument and has no form that does not; write x = ...")
        whole = _viewed(written)
        if whole is not None and any(order[user] > order[node] for user in whole.users):
            raise ValueError(f"{node.target} writes into a part of a tensor that is read afterwards; write x = ...")
        node.target = functional
        written.replace_all_uses_with(
            node,
            delete_user_cb=lambda user, at=order[node]: order[user] > at,  # type: ignore[misc]
        )
        changed += 1
    return finish_(graph, changed)


def _functional(target: Any) -> Any:
    """Return `ATEN.relu.default` for `ATEN.relu_.default`, None where there is none."""
    name = target._schema.name.removeprefix("aten::")
    packet = getattr(ATEN, name.removesuffix("_"), None) if name.endswith("_") else None
    return getattr(packet, target._overloadname, None)


def _viewed(node: Node) -> Node | None:
    """Return the tensor that `node` gives another view of, None where it is one of its own."""
    schema = getattr(node.target, "_schema", None)
    if not isinstance(node.target, torch._ops.OpOverload) or schema is None or not node.args:
        return None
    is_view = any(value.alias_info is not None and not value.alias_info.is_write for value in schema.returns)
    source = node.args[0]
    return source if is_view and isinstance(source, Node) else None
