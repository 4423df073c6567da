"""Rewrites of exported ATen graphs, float or qdq, that keep the function and fit a runtime better.

Every pass works in place on a copy that the converter owns (`owned_graph`), and returns how many places it changed.
qdq is short for a quantize operator followed by a dequantize operator, the form in which PT2E marks integers.
"""

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

ATEN = torch.ops.aten
_QUANTIZE = ("quantized_decomposed.quantize_per_tensor.default", "quantized_decomposed.quantize_per_channel.default")
_DEQUANTIZE = tuple(name.replace(".quantize", ".dequantize") for name in _QUANTIZE)
_ARITHMETIC = (ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor, ATEN.div.Tensor)
_CLAMPS = (ATEN.relu.default, ATEN.relu_.default, ATEN.hardtanh.default, ATEN.hardtanh_.default, ATEN.relu6.default)


def is_quantize(node: Any) -> bool:
    return isinstance(node, Node) and str(node.target) in _QUANTIZE


def is_dequantize(node: Any) -> bool:
    return isinstance(node, Node) and str(node.target) in _DEQUANTIZE


def is_qdq_graph(model: nn.Module) -> bool:
    """Tell whether a graph carries quantize and dequantize operators."""
    return isinstance(model, GraphModule) and any(is_quantize(node) for node in model.graph.nodes)


def check_eval_mode(model: nn.Module) -> None:
    """Refuse a module in training mode; a graph has left it behind whatever its flag says.

    Raises:
        ValueError: If it is in training mode.
    """
    if model.training and not isinstance(model, GraphModule):
        raise ValueError("the model is in training mode; call eval() and fuse() first")


def owned_graph(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> GraphModule:
    """Return an exported graph of `model` that may be changed without changing `model`.

    Raises:
        ValueError: If the module is in training mode.
    """
    check_eval_mode(model)
    if isinstance(model, GraphModule):
        graph = copy.deepcopy(model)
    else:
        exported = torch.export.export(copy.deepcopy(model), example_inputs).module()
        assert isinstance(exported, GraphModule)
        graph = exported
    for node in [n for n in graph.graph.nodes if n.op == "call_module" and n.target == "_guards_fn"]:
        graph.graph.erase_node(node)  # checks of the input's shape, which would count as a reader of it
    for node in [n for n in graph.graph.nodes if _is_identity(n)]:
        node.replace_all_uses_with(node.args[0])  # not every converter knows them
    finish(graph, 1)
    return graph


def _is_identity(node: Node) -> bool:
    is_idle_dropout = node.target == ATEN.dropout.default and node.args[2:] == (False,)
    return is_idle_dropout or node.target in (ATEN.alias.default, ATEN.detach.default)


def fold_quantized_constants(graph: GraphModule) -> int:
    """Store weights as the integers that their quantize operator would give; runtimes want them so."""
    folded = 0
    for node in list(graph.graph.nodes):
        if not is_quantize(node) or any(source.op != "get_attr" for source in node.all_input_nodes):
            continue
        values = [get_tensor(graph, a) if isinstance(a, Node) else a for a in node.args]
        constant = add_constant(graph, node, node.target(*values).detach())  # type: ignore[operator]
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)
        graph.graph.erase_node(node)
        folded += 1
    return finish(graph, folded)


def settle_constants_(graph: GraphModule) -> int:
    """Replace weights by what their qdq pairs make of them: runtimes round halves in ways of their own."""
    settled = 0
    for node in graph.graph.nodes:
        if not is_quantize(node) or any(source.op != "get_attr" for source in node.all_input_nodes):
            continue
        dequantize = next(iter(node.users))
        weights, grid = get_tensor(graph, node.args[0]), node.args[1:]
        values = [get_tensor(graph, a) if isinstance(a, Node) else a for a in grid]
        weights.data = dequantize.target(node.target(weights.data, *values), *values)  # type: ignore[operator]
        settled += 1
    return settled


def drop_implied_clamps(graph: GraphModule) -> int:
    """Remove a ReLU or clip where the quantize operator behind it saturates at the same values or earlier."""
    dropped = 0
    for node in list(graph.graph.nodes):
        if node.target not in _CLAMPS or not node.users:
            continue
        low, high = _clamp_limits(node)
        if all(is_quantize(user) and _saturates_within(user, low, high) for user in node.users):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
            dropped += 1
    return finish(graph, dropped)


def quantize_scalars(graph: GraphModule) -> int:
    """Give a whole number that is added to or multiplied with integers the form of an int8 constant.

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
        constant = add_constant(graph, node, torch.full((1,) * rank, int(number), dtype=torch.int8))
        dequantize = node.args[0].target
        with graph.graph.inserting_before(node):
            real = graph.graph.call_function(dequantize, (constant, 1.0, 0, -127, 127, torch.int8))
        node.args = (node.args[0], real, *node.args[2:])
        changed += 1
    return finish(graph, changed)


def float_scalars(graph: GraphModule) -> int:
    """Write whole numbers among floats as floats; lowering would otherwise convert them at run time."""
    changed = 0
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        if node.target in _ARITHMETIC and is_float and type(node.args[1]) is int:
            node.args = (node.args[0], float(node.args[1]), *node.args[2:])
            changed += 1
    return finish(graph, changed)


def average_over_planes(graph: GraphModule) -> int:
    """Write the mean of a (B, H, W, C) tensor over H and W as one of its (B, C, H, W) form with its axes kept.

    XNNPACK has a kernel for the second alone; inside it the permutation is undone again.
    """
    changed = 0
    for node in list(graph.graph.nodes):
        shape, result = shape_of(node.args[0] if node.args else None), shape_of(node)
        if node.target != ATEN.mean.dim or node.kwargs or shape is None or result is None:
            continue
        rank, keep = len(shape), len(node.args) > 2 and bool(node.args[2])
        axes = sorted(axis % rank for axis in node.args[1])
        if rank != 4 or axes not in ([1, 2], [2, 3]) or (axes == [2, 3] and keep):
            continue
        x = node.args[0]
        with graph.graph.inserting_before(node):
            if axes == [1, 2]:
                x = _moved(graph, ATEN.permute.default, x, [0, 3, 1, 2])
            mean = graph.graph.call_function(ATEN.mean.dim, (x, [2, 3], True))
            last = _requantized(graph, mean, node)
            replacement = graph.graph.call_function(ATEN.view.default, (last, list(result)))
        node.replace_all_uses_with(replacement)
        graph.graph.erase_node(node)
        changed += 1
    return finish(graph, changed)


def split_to_slices(graph: GraphModule) -> int:
    """Write chunk, split and split_with_sizes as slices, each of which a partitioner takes by itself."""
    changed = 0
    splits = (ATEN.chunk.default, ATEN.split.Tensor, ATEN.split_with_sizes.default)
    for node in [n for n in graph.graph.nodes if n.target in splits]:
        axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        axis %= len(shape_of(node.args[0]))  # type: ignore[arg-type]
        ends = [0]
        for part in node.meta["val"]:
            ends.append(ends[-1] + part.shape[axis])
        for user in list(node.users):
            assert user.target is operator.getitem
            at = user.args[1]
            with graph.graph.inserting_before(user):
                piece = graph.graph.call_function(ATEN.slice.Tensor, (node.args[0], axis, ends[at], ends[at + 1]))
            piece.meta = dict(user.meta)
            user.replace_all_uses_with(piece)
            graph.graph.erase_node(user)
        changed += 1
    return finish(graph, changed)


def copy_when_turning(graph: GraphModule) -> int:
    """Write transpose and permute as the copying form, whose result lies in order.

    A reshape of a turned tensor exports as a clone and a view, and a partitioner finds no integers around the clone.
    """
    changed = 0
    for node in list(graph.graph.nodes):
        if node.target not in (ATEN.transpose.int, ATEN.permute.default):
            continue
        shape = shape_of(node)
        if shape is None:
            continue
        if node.target == ATEN.permute.default:
            order = [axis % len(shape) for axis in node.args[1]]
        else:
            order = list(range(len(shape)))
            first, second = (axis % len(shape) for axis in node.args[1:3])
            order[first], order[second] = order[second], order[first]
        node.target, node.args, node.kwargs = ATEN.permute_copy.default, (node.args[0], order), {}
        changed += 1
    return finish(graph, changed)


def turn_once(graph: GraphModule) -> int:
    """Join two permutations with a view between that only drops a leading axis of one: heads split, keys transposed."""
    changed = 0
    for node in list(graph.graph.nodes):
        if node.target != ATEN.permute_copy.default or _order(node) != [0, 2, 1]:
            continue
        view = _only_source(node)
        if view is None or view.target not in (ATEN.view.default, ATEN.reshape.default):
            continue
        turn, shape = _only_source(view), shape_of(view)
        if turn is None or turn.target != ATEN.permute_copy.default or shape_of(turn) != (1, *(shape or ())):
            continue
        order = _order(turn)
        turn.args = (turn.args[0], [*order[:2], order[3], order[2]])
        view.args = (view.args[0], [shape[0], shape[2], shape[1]])  # type: ignore[index]
        for changed_node in (turn, view):
            changed_node.meta = {k: v for k, v in changed_node.meta.items() if k not in ("val", "tensor_meta")}
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)
        changed += 1
    return finish(graph, changed)


def drop_repeated_qdq(graph: GraphModule) -> int:
    """Remove a quantize operator that reads what was just dequantized from the same grid."""
    dropped = 0
    for node in list(graph.graph.nodes):
        source = node.args[0] if is_quantize(node) else None
        if source is not None and is_dequantize(source) and node.args[1:] == source.args[1:]:
            node.replace_all_uses_with(source.args[0])
            graph.graph.erase_node(node)
            dropped += 1
    return finish(graph, dropped)


def _order(node: Node) -> list[int]:
    return [int(axis) for axis in node.args[1]]  # type: ignore[union-attr, arg-type]


def _only_source(node: Node) -> Node | None:
    """Return what `node` reads, past a quantize and dequantize pair, if nothing else reads it."""
    source = node.args[0]
    while is_dequantize(source) or is_quantize(source):
        if len(source.users) != 1:
            return None
        source = source.args[0]
    return source if isinstance(source, Node) and len(source.users) == 1 else None


def spell_out_layer_norm(graph: GraphModule) -> int:
    """Write layer norm over the last axis as products, sums and a reciprocal root; means as a linear layer of 1/C.

    XNNPACK has no layer norm, so each one would cut the delegate in two; it has all of these.
    """
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target == ATEN.layer_norm.default]:
        x, shape, weight, bias, epsilon = _layer_norm_arguments(node)
        if len(shape) != 1:
            continue
        call = graph.graph.call_function
        ones = add_constant(graph, node, torch.full((1, shape[0]), 1.0 / shape[0]))
        with graph.graph.inserting_before(node):
            centered = call(ATEN.sub.Tensor, (x, call(ATEN.linear.default, (x, ones))))
            variance = call(ATEN.linear.default, (call(ATEN.mul.Tensor, (centered, centered)), ones))
            scale = call(ATEN.rsqrt.default, (call(ATEN.add.Tensor, (variance, epsilon)),))
            result = call(ATEN.mul.Tensor, (centered, scale))
            result = result if weight is None else call(ATEN.mul.Tensor, (result, weight))
            result = result if bias is None else call(ATEN.add.Tensor, (result, bias))
        node.replace_all_uses_with(result)
        graph.graph.erase_node(node)
        changed += 1
    return finish(graph, changed)


def _layer_norm_arguments(node: Node) -> tuple[Any, list[int], Any, Any, float]:
    arguments: list[Any] = [*node.args[:5], *(None, None, None, None, 1e-5)[len(node.args[:5]) :]]
    x, shape, weight, bias, epsilon = arguments
    return x, list(shape), weight, bias, float(epsilon)


def take_integer_input(graph: GraphModule) -> tuple[float, int] | None:
    """Let the graph take what its first quantize operator gives, and return that operator's scale and zero point.

    Nothing happens, and None is returned, unless the input is read by exactly that operator or equal ones.
    """
    (source,) = [node for node in graph.graph.nodes if node.op == "placeholder"]
    users = list(source.users)
    if not users or not all(str(user.target) == _QUANTIZE[0] for user in users):
        return None
    if len({tuple(map(str, user.args[1:])) for user in users}) != 1:
        return None
    scale, zero_point, dtype = users[0].args[1], users[0].args[2], users[0].args[5]
    for user in users:
        user.replace_all_uses_with(source)
        graph.graph.erase_node(user)
    source.meta["val"] = source.meta["val"].to(dtype)
    source.meta.pop("tensor_meta", None)
    finish(graph, 1)
    return float(scale), int(zero_point)  # type: ignore[arg-type]


def add_constant(graph: GraphModule, before: Node, value: Tensor) -> Node:
    """Store a tensor in the graph under a new name and return the node that reads it."""
    number = sum(1 for name, _ in graph.named_buffers() if name.startswith("_constant_"))
    while hasattr(graph, f"_constant_{number}"):
        number += 1
    graph.register_buffer(f"_constant_{number}", value)
    with graph.graph.inserting_before(before):
        return graph.graph.get_attr(f"_constant_{number}")


def get_tensor(graph: GraphModule, node: Node) -> Tensor:
    """Return the parameter or buffer that a get_attr node names."""
    value: Any = graph
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value


def finish(graph: GraphModule, changed: int) -> int:
    """Drop what nothing reads any more, weights included, and compile; return `changed`."""
    if not changed:
        return 0
    graph.graph.eliminate_dead_code()
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in [*graph.named_parameters(), *graph.named_buffers()] if name not in used]:
        path, _, leaf = name.rpartition(".")
        delattr(graph.get_submodule(path), leaf)
    graph.recompile()
    return changed


def _clamp_limits(node: Node) -> tuple[float, float]:
    if node.target in (ATEN.relu.default, ATEN.relu_.default):
        return 0.0, math.inf
    if node.target == ATEN.relu6.default:
        return 0.0, 6.0
    limits = [*node.args[1:3], *(-1.0, 1.0)[len(node.args) - 1 :]]
    return float(limits[0]), float(limits[1])  # type: ignore[arg-type]


def _saturates_within(quantize: Node, low: float, high: float) -> bool:
    if str(quantize.target) != _QUANTIZE[0]:
        return False
    scale, zero_point, smallest, largest = (float(a) for a in quantize.args[1:5])  # type: ignore[arg-type]
    slack = scale * 1e-4  # the ends are on the grid up to rounding
    return (smallest - zero_point) * scale >= low - slack and (largest - zero_point) * scale <= high + slack


def shape_of(node: Any) -> tuple[int, ...] | None:
    while is_quantize(node) or is_dequantize(node):  # PT2E gives these no meta data; they keep the shape
        node = node.args[0]
    value = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _moved(graph: GraphModule, target: Callable[..., Any], x: Node, *arguments: Any) -> Node:
    """Call an operator that only moves values; integers stay on their grid."""
    moved = graph.graph.call_function(target, (x, *arguments))
    return _qdq_like(graph, moved, x.args[1:], x.target) if is_dequantize(x) else moved


def _requantized(graph: GraphModule, value: Node, replaced: Node) -> Node:
    """Quantize `value` as all users of `replaced` do, so that what follows moves integers."""
    users = list(replaced.users)
    if not users or not all(is_quantize(user) for user in users):
        return value
    dequantize = next(iter(users[0].users)).target
    return _qdq_like(graph, value, users[0].args[1:], dequantize)


def _qdq_like(graph: GraphModule, value: Node, grid: tuple[Any, ...], dequantize: Any) -> Node:
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    return graph.graph.call_function(dequantize, (graph.graph.call_function(quantize, (value, *grid)), *grid))
