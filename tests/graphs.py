"""Small helpers for tests on exported graphs."""

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.passes.graph import owned_graph


def targets(graph: GraphModule) -> list[str]:
    """Return the operators of a graph, in order."""
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def owned(function: nn.Module, *shape: int) -> GraphModule:
    """Export a module that takes one tensor of this shape."""
    return owned_graph(function.eval(), (torch.zeros(*shape),))


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of every parameter and buffer, those too that no state dict holds."""
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def is_state(module: nn.Module, expected: dict[str, Tensor]) -> bool:
    """Tell whether a module still holds these tensors, bit by bit."""
    now = state(module)
    return now.keys() == expected.keys() and all(torch.equal(now[name], expected[name]) for name in now)
