"""The exported graph that quantization works on: ATen operators; each value has a name whatever the batch size."""

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from converters.passes.graph import free_batch
from converters.passes.layer_norm import spell_out_layer_norm_
from converters.passes.simplify import simplify_
from edge_vit.layers.own_pixels import OwnPixels

ATEN = torch.ops.aten

# Operators that move values without changing them: what goes in and what comes out share one range.
MOVING_OPS = frozenset(
    {
        ATEN.view.default, ATEN.reshape.default, ATEN.transpose.int, ATEN.permute.default, ATEN.flatten.using_ints,
        ATEN.unflatten.int, ATEN.slice.Tensor, ATEN.select.int, ATEN.squeeze.dim, ATEN.unsqueeze.default,
        ATEN.constant_pad_nd.default, ATEN.pad.default, ATEN.contiguous.default, ATEN.clone.default,
        ATEN.alias.default, ATEN.split.Tensor, ATEN.split_with_sizes.default, ATEN.chunk.default,
        ATEN.max_pool2d.default, ATEN.expand.default,
    }
)  # fmt: skip


def export_graph(
    model: nn.Module, example: Tensor, dynamic_batch: bool = False, *, has_floats: bool = True
) -> GraphModule:
    """Export a deploy-form model in eval mode and write its Hardswish as operators that have int8 kernels.

    Args:
        model: Takes one tensor, returns one.
        example: Its input; batch one for conversion.
        dynamic_batch: Let axis 0 vary from 2 up: for training, and for files that leave it open.
        has_floats: As of the processor; without, layer norms are spelled out.
    """
    exported = plain_graph(model, example, dynamic_batch)
    expand_hardswish_(exported, all_of_them=isinstance(model, OwnPixels))
    if not has_floats:
        spell_out_layer_norm_(exported, is_planned=True)
    return exported


def plain_graph(model: nn.Module, example: Tensor, dynamic_batch: bool = False) -> GraphModule:
    """Export a model in eval mode; bring what nobody here wrote (`OwnPixels`) into the form of our own.

    `meta["pixels"]` then says why mean and std are no part of the first convolution, "" if they are.

    Args:
        example, dynamic_batch: As in `export_graph`.
    """
    if model.training:
        raise ValueError("the model is in training mode; call eval() and fuse() first")
    shapes = free_batch() if dynamic_batch else None
    # A copy, because rewrites change weights and an exported graph shares them with its model.
    exported = torch.export.export(copy.deepcopy(model), (example,), dynamic_shapes=shapes).module()
    assert isinstance(exported, GraphModule)
    if isinstance(model, OwnPixels):
        with torch.no_grad():
            exported.meta["pixels"] = simplify_(exported)
    return exported


def expand_hardswish_(graph_module: GraphModule, *, all_of_them: bool = False) -> int:
    """Write hardswish(x) as x * relu6(x + 3), its factor 1/6 folded into the next linear layers; return how many.

    XNNPACK runs the two int8 operators as one table lookup (0.6 instructions an element on aarch64), a HARD_SWISH of
    int8 it does not run at all. Where what follows is no linear layer, or shares its weight with another operator, the
    Hardswish stays and runs in float.

    Args:
        all_of_them: Multiply by 1/6 where it cannot be folded: one more int8 operator in place of a float one.
    """
    graph = graph_module.graph
    readers = count_readers(graph_module)
    count = 0
    for node in list(graph.nodes):
        if node.target != ATEN.hardswish.default:
            continue
        weights = [get_tensor(graph_module, consumer.args[1]) for consumer in linear_consumers(node) or ()]
        is_folded = bool(weights) and not any(readers[id(weight)] > 1 for weight in weights)
        if not is_folded and not all_of_them:
            continue
        for weight in weights if is_folded else ():
            weight.data = weight.data / 6.0  # its memory may be another tensor's too
        x = node.args[0]
        with graph.inserting_before(node):
            shifted = graph.call_function(ATEN.add.Tensor, (x, 3.0))
            gate = graph.call_function(ATEN.hardtanh.default, (shifted, 0.0, 6.0))
            # The sixth of x, not of the product: LiteRT's converter joins that to one HARD_SWISH, which runs in float.
            factor = x if is_folded else graph.call_function(ATEN.mul.Tensor, (x, 1.0 / 6.0))
            product = graph.call_function(ATEN.mul.Tensor, (factor, gate))
        for new in (shifted, gate, product) if is_folded else (shifted, gate, factor, product):
            new.meta = dict(node.meta)
        node.replace_all_uses_with(product)
        graph.erase_node(node)
        count += 1
    graph_module.recompile()
    return count


def linear_consumers(node: Node) -> list[Node] | None:
    """Return the linear layers and convolutions that alone read `node`, through moving operators; None if others do."""
    found: list[Node] = []
    for user in node.users:
        if user.target in (ATEN.linear.default, ATEN.conv2d.default) and user.args[0] is node:
            found.append(user)
        elif user.target in MOVING_OPS:
            deeper = linear_consumers(user)
            if deeper is None:
                return None
            found += deeper
        else:
            return None
    return found


def count_readers(graph_module: GraphModule) -> Counter[int]:
    """Count the operators that read each stored tensor, by the tensor's id; it may have several names."""
    constants = [node for node in graph_module.graph.nodes if node.op == "get_attr"]
    return Counter(id(get_tensor(graph_module, node)) for node in constants for _ in node.users)


def get_tensor(graph_module: GraphModule, node: object) -> Tensor:
    """Return the parameter or buffer that a get_attr node names."""
    assert isinstance(node, Node) and node.op == "get_attr"
    value: object = graph_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value


def is_constant(node: object) -> bool:
    """Tell whether an argument is no activation: a number, a parameter, a buffer, or one of these moved."""
    if not isinstance(node, Node) or node.op == "get_attr":
        return True
    return node.op == "call_function" and node.target in MOVING_OPS and is_constant(node.args[0])


def value_names(graph_module: GraphModule) -> dict[Node, str]:
    """Name every activation: "<module path>.<operator>.<how many of its kind in that module>", "input" for the input.

    The names are equal for graphs of the same model exported at different batch sizes, so that ranges learnt on one
    fit the other.
    """
    names: dict[Node, str] = {}
    counts: Counter[str] = Counter()
    for node in graph_module.graph.nodes:
        if node.op == "placeholder":
            names[node] = "input"
        elif node.op == "call_function":
            stack = node.meta.get("nn_module_stack") or {}
            path = list(stack.values())[-1][0] if stack else ""
            kind = getattr(node.target, "_opname", getattr(node.target, "__name__", "op"))
            stem = f"{path}.{kind}" if path else kind
            names[node] = f"{stem}.{counts[stem]}"
            counts[stem] += 1
    return names
