"""F.scaled_dot_product_attention in operators that the runtimes have, on (heads, tokens, channels)."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from converters.passes.folding import known_value
from converters.passes.graph import ATEN, add_call_, add_known_constant_, finish_, shape_of


def spell_out_attention_(graph: GraphModule) -> int:
    """Write F.scaled_dot_product_attention as products of matrices, its mask or bias, and a softmax.

    Raises:
        ValueError: If it drops attention weights at random, as in training, or shares keys among heads.
    """
    found = [n for n in graph.graph.nodes if n.target == ATEN.scaled_dot_product_attention.default]
    for node in found:
        given: list[Any] = [*node.args, *[None, 0.0, False][len(node.args) - 3 :]]
        q, k, v, mask, dropout, is_causal = given
        if dropout or node.kwargs.get("enable_gqa"):
            raise ValueError("F.scaled_dot_product_attention with dropout_p or enable_gqa is not supported here")
        scale = node.kwargs.get("scale")
        width, queries, keys = q.meta["val"].shape[-1], q.meta["val"].shape[-2], k.meta["val"].shape[-2]
        scaled = add_call_(graph, node, ATEN.mul.Tensor, q, float(width) ** -0.5 if scale is None else float(scale))
        turned = add_call_(graph, node, ATEN.transpose.int, k, -2, -1)
        scores = add_call_(graph, node, ATEN.matmul.default, scaled, turned)
        if is_causal:
            mask = add_known_constant_(graph, node, torch.ones(queries, keys, dtype=torch.bool).tril())
        mask = _settled(graph, node, mask)
        if mask is not None:
            scores = add_call_(graph, node, ATEN.add.Tensor, scores, _as_bias(graph, node, mask))
        weights = add_call_(graph, node, ATEN.softmax.int, scores, -1)
        node.replace_all_uses_with(add_call_(graph, node, ATEN.matmul.default, weights, v))
        graph.graph.erase_node(node)
    return finish_(graph, len(found))


def _settled(graph: GraphModule, like: Node, mask: Any) -> Any:
    """Return a mask that does not depend on the picture as one constant for all, None where it masks nothing."""
    value = known_value(graph, mask)
    if value is None:
        return mask
    is_idle = value.all() if value.dtype == torch.bool else not value.any()
    return None if bool(is_idle) else add_known_constant_(graph, like, value)


def _as_bias(graph: GraphModule, like: Node, mask: Any) -> Node:
    """Return what is added to scores: a mask of booleans becomes 0 where it is true, -100 where it is false."""
    if mask.meta["val"].dtype != torch.bool:
        return mask  # type: ignore[no-any-return]
    off = add_known_constant_(graph, like, torch.tensor(-100.0))
    on = add_known_constant_(graph, like, torch.tensor(0.0))
    return add_call_(graph, like, ATEN.where.self, mask, on, off)


def batch_matmuls_(graph: GraphModule) -> int:
    """Write products of two activations as bmm, (N, rows, inner) by (N, inner, columns): all runtimes have that one.

    A product with a stored matrix becomes a linear layer. Products that spread one operand over the other stay.
    """
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target == ATEN.matmul.default and not n.kwargs]:
        left, right = node.args
        shapes = [shape_of(left), shape_of(right)]
        if None in shapes or len(shapes[0]) < 2:  # type: ignore[arg-type]
            continue
        if right.op == "get_attr" and len(shapes[1]) == 2:  # type: ignore[arg-type]
            turned = add_call_(graph, node, ATEN.transpose.int, right, 0, 1)
            node.replace_all_uses_with(add_call_(graph, node, ATEN.linear.default, left, turned))
            graph.graph.erase_node(node)
            changed += 1
            continue
        heads = [shape[:-2] for shape in shapes]  # type: ignore[index]
        if not heads[0] or str(heads[0]) != str(heads[1]):
            continue
        result = node.meta["val"].shape
        if len(heads[0]) > 1:
            sides = (
                add_call_(graph, node, ATEN.reshape.default, side, [-1, *shape[-2:]])  # type: ignore[index]
                for side, shape in zip((left, right), shapes, strict=True)
            )
            product = add_call_(graph, node, ATEN.bmm.default, *sides)
            node.replace_all_uses_with(
                add_call_(graph, node, ATEN.reshape.default, product, [-1, *(int(size) for size in result[1:])])
            )
        else:
            node.replace_all_uses_with(add_call_(graph, node, ATEN.bmm.default, left, right))
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)
