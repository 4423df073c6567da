"""What all passes over exported ATen graphs, float or qdq, share.

A pass keeps the function and makes the graph fit a runtime better. It works in place on a graph that its caller owns
(`owned_graph`), as the `_` at the end of its name says, and returns how many places it changed. qdq is short for a
quantize operator followed by a dequantize operator, the form in which PT2E marks integers.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

ATEN = torch.ops.aten
QUANTIZE = ("quantized_decomposed.quantize_per_tensor.default", "quantized_decomposed.quantize_per_channel.default")
DEQUANTIZE = tuple(name.replace(".quantize", ".dequantize") for name in QUANTIZE)


def free_batch() -> tuple[dict[int, Any]]:
    """Return torch.export's word for one input whose first axis has any size from 2 up, and in files any at all."""
    return ({0: torch.export.Dim("batch", min=2, max=4096)},)


def is_quantize(node: Any) -> bool:
    return isinstance(node, Node) and str(node.target) in QUANTIZE


def is_dequantize(node: Any) -> bool:
    return isinstance(node, Node) and str(node.target) in DEQUANTIZE


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


def owned_graph(model: nn.Module, example_inputs: tuple[Tensor, ...], *, is_free_batch: bool = False) -> GraphModule:
    """Return an exported graph of `model` that may be changed without changing `model`.

    Args:
        is_free_batch: Let the first axis of a module's input have any size; a graph stays as it was exported.

    Raises:
        ValueError: If the module is in training mode.
    """
    check_eval_mode(model)
    if isinstance(model, GraphModule):
        graph = copy.deepcopy(model)
    else:
        shapes = free_batch() if is_free_batch else None
        exported = torch.export.export(copy.deepcopy(model), example_inputs, dynamic_shapes=shapes).module()
        assert isinstance(exported, GraphModule)
        graph = exported
    for node in [n for n in graph.graph.nodes if n.op == "call_module" and n.target == "_guards_fn"]:
        graph.graph.erase_node(node)  # checks of the input's shape, which would count as a reader of it
    for node in [n for n in graph.graph.nodes if _is_identity(n)]:
        node.replace_all_uses_with(node.args[0])  # not every converter knows them
        graph.graph.erase_node(node)  # dead code is not enough: dropout counts as having an effect
    finish_(graph, 1)
    return graph


def _is_identity(node: Node) -> bool:
    is_idle_dropout = node.target == ATEN.dropout.default and node.args[2:] == (False,)
    return is_idle_dropout or node.target in (ATEN.alias.default, ATEN.detach.default)


def add_constant_(graph: GraphModule, before: Node, value: Tensor) -> Node:
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


def add_known_constant_(graph: GraphModule, before: Node, value: Tensor) -> Node:
    """Do as `add_constant_`, in a graph whose shapes are known throughout, as they are after an export."""
    node = add_constant_(graph, before, value)
    node.meta["val"] = _mode(graph).from_tensor(value.detach(), static_shapes=True)
    return node


def add_parameter_(graph: GraphModule, before: Node, path: str, leaf: str, value: Tensor) -> Node:
    """Store a parameter in the graph's module at `path` and return the node that reads it.

    It is called `leaf`, with a number behind where something that is still read has that name.
    """
    module, name = graph.get_submodule(path), leaf
    with graph.graph.inserting_before(before):
        used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr" and node.users}
        number = 0
        while f"{path}.{name}".removeprefix(".") in used or name in dict(module.named_children()):
            number += 1
            name = f"{leaf}_{number}"
        for node in graph.graph.find_nodes(op="get_attr", target=f"{path}.{name}".removeprefix(".")):
            graph.graph.erase_node(node)
        if hasattr(module, name):
            delattr(module, name)
        module.register_parameter(name, nn.Parameter(value.contiguous(), requires_grad=value.is_floating_point()))
        node = graph.graph.get_attr(f"{path}.{name}".removeprefix("."))
    node.meta["val"] = _mode(graph).from_tensor(value.detach(), static_shapes=True)
    return node


def add_call_(graph: GraphModule, like: Node, target: Any, *args: Any) -> Node:
    """Add an operator before `like`, at the same place of the user's module; its shape is known at once."""
    with graph.graph.inserting_before(like):
        node = graph.graph.call_function(target, args)
    node.meta = {key: like.meta[key] for key in ("nn_module_stack", "stack_trace") if key in like.meta}
    values = torch.fx.node.map_arg(args, lambda source: source.meta["val"])
    with _mode(graph), torch.no_grad():
        node.meta["val"] = target(*values)
    return node


def _mode(graph: GraphModule) -> Any:
    """Return the mode in which the shapes of an exported graph were found."""
    return next(node.meta["val"].fake_mode for node in graph.graph.nodes if node.op == "placeholder")


def stored(graph: GraphModule, node: Any) -> Tensor | None:
    """Return the parameter or buffer that an argument names, None for anything else."""
    return get_tensor(graph, node) if isinstance(node, Node) and node.op == "get_attr" else None


def only_user(node: Node) -> Node | None:
    """Return what alone reads `node`, None where several or none do."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def finish_(graph: GraphModule, changed: int) -> int:
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


def shape_of(node: Any) -> tuple[int, ...] | None:
    while is_quantize(node) or is_dequantize(node):  # PT2E gives these no meta data; they keep the shape
        node = node.args[0]
    value = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(value.shape) if isinstance(value, Tensor) else None
