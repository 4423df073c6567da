"""Probabilities in place of logits."""

import copy

import torch
from torch import nn
from torch.fx import GraphModule, Node

from converters.passes.graph import ATEN, shape_of


def ends_in_softmax(model: nn.Module) -> nn.Module:
    """Return a model of probabilities, (B, classes), made from one of logits, which stays as it is.

    A qdq graph computes them in float, behind its last dequantize operator: its integers stay the same.
    """
    if not isinstance(model, GraphModule):
        return nn.Sequential(model, nn.Softmax(-1)).eval()
    graph = copy.deepcopy(model)
    (output,) = [node for node in graph.graph.nodes if node.op == "output"]
    (logits,) = output.all_input_nodes
    output.replace_input_with(logits, add_softmax_(graph, logits))
    graph.recompile()
    return graph


def add_softmax_(graph: GraphModule, logits: Node) -> Node:
    """Add a softmax over the last axis of a node's value; nothing reads it yet."""
    with graph.graph.inserting_after(logits):
        probabilities = graph.graph.call_function(ATEN.softmax.int, (logits, -1))
    shape = shape_of(logits)
    if shape is not None:
        probabilities.meta["val"] = torch.empty(shape, device="meta")
    return probabilities
