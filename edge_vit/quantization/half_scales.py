"""Round every scale of a quantized model to one that float16 holds, so that all formats hold the same number.

TFLite and ExecuTorch store scales as float32. A Core ML program for the Neural Engine is float16 throughout, its scales
too; a scale that float16 cannot hold would be another number there, and another integer now and then. The change is
at most one part in 2048 of a scale, and none to the stored integers of a trained checkpoint.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edge_vit.quantization.graph import count_readers, get_tensor, is_constant
from edge_vit.quantization.plan import GEMM_OPS, Plan, QParams, is_attention_bias, smallest_constant_scale

_LARGEST = 127.0
_SMALLEST_SCALE = 2.0**-24  # the smallest number above zero that float16 holds


def round_scales_(graph_module: GraphModule, plan: Plan, ranges: Mapping[str, QParams]) -> dict[str, QParams]:
    """Return ranges with float16 scales; bring fixed ranges of `plan` and constants of the graph to such, in place.

    A constant that several operators read may need another scale for each: each gets one of its own.
    """
    readers = count_readers(graph_module)
    for group in plan.groups.values():
        if group.fixed is not None:
            group.fixed = _rounded(group.fixed)
    rounded = {name: _rounded(qparams) for name, qparams in ranges.items()}
    for node in graph_module.graph.nodes:
        for constant, is_weight in _constants(node, plan):
            tensor = get_tensor(graph_module, constant)
            with torch.no_grad():
                smallest_scale = smallest_constant_scale(node, plan, rounded)
                value = on_half_grid(tensor, per_channel=is_weight, smallest_scale=smallest_scale)
                if readers[id(tensor)] == 1:
                    tensor.data = value  # its memory may be another tensor's too
                else:
                    _give_own_(graph_module, node, constant, value)
    return rounded


def int8_constants(graph_module: GraphModule, plan: Plan) -> dict[str, dict[int, Tensor]]:
    """Return copies of what operators read in int8, by the operator's name and the argument's place."""
    found: dict[str, dict[int, Tensor]] = {}
    for node in graph_module.graph.nodes:
        for constant, _ in _constants(node, plan):
            place = node.args.index(constant)
            found.setdefault(plan.names[node], {})[place] = get_tensor(graph_module, constant).detach().clone()
    return found


def on_half_grid(tensor: Tensor, *, per_channel: bool, smallest_scale: float = 0.0) -> Tensor:
    """Return values rounded to int8 steps of a float16 scale, which their largest value gives back exactly, if it is
    above `smallest_scale`.

    Args:
        per_channel: One scale for each entry of axis 0, else one for all.
    """
    axes = list(range(1, tensor.dim())) if per_channel else list(range(tensor.dim()))
    largest = tensor.abs().amax(axes, keepdim=True)
    scale = (largest / _LARGEST).clamp_min(max(smallest_scale, _SMALLEST_SCALE))
    half = scale.half().float().clamp_min(_SMALLEST_SCALE)
    return (tensor / scale).round().clamp(-_LARGEST, _LARGEST) * half


def _give_own_(graph_module: GraphModule, node: Node, shared: Node, value: Tensor) -> None:
    """Let `node` read `value` in place of a constant that others read too."""
    name = f"_half_{sum(1 for _ in graph_module.buffers())}"
    graph_module.register_buffer(name, value)
    with graph_module.graph.inserting_before(node):
        own = graph_module.graph.get_attr(name)
    own.meta = dict(shared.meta)
    node.replace_input_with(shared, own)
    graph_module.recompile()


def _rounded(qparams: QParams) -> QParams:
    return replace(qparams, scale=max(float(np.float16(qparams.scale)), _SMALLEST_SCALE))


def _constants(node: Node, plan: Plan) -> list[tuple[Node, bool]]:
    """Return the constants that a node reads in int8, and whether they are weights with a scale a channel."""
    if node in plan.int8_nodes and node.target in GEMM_OPS:
        return [(node.args[1], True)]  # type: ignore[list-item]
    if node in plan.int8_nodes or is_attention_bias(node):
        return [(a, False) for a in node.args[:2] if isinstance(a, Node) and a.op == "get_attr" and is_constant(a)]
    return []
