"""Turn a graph, its plan and its ranges into a qdq graph, through PT2E."""

import copy
import logging
from collections.abc import Mapping

import torch
from torch.fx import GraphModule, Node

from converters.grids import wide_grid
from converters.quiet import quiet
from edge_vit.quantization.graph import ATEN, is_constant
from edge_vit.quantization.packages import check_torchao
from edge_vit.quantization.plan import (
    GEMM_OPS,
    MATMUL_OPS,
    Plan,
    QParams,
    constant_qparams,
    fused_activation,
    is_attention_bias,
    smallest_constant_scale,
)

WEIGHT_MAX = 127  # symmetric: -127 to 127, so that negation is exact


def quantize_graph(
    graph_module: GraphModule, plan: Plan, ranges: Mapping[str, QParams], *, is_wide: bool = False
) -> GraphModule:
    """Return a copy of the graph with quantize and dequantize operators around every int8 operator of the plan.

    Weights become int8, symmetric, one scale an output channel; activations int8 with the given ranges. The graph that
    was given, which the plan's nodes belong to, stays as it is.

    Args:
        is_wide: Activations and what is added to them become int16 of the same reach.

    Raises:
        ValueError: If a range is missing.
    """
    check_torchao()
    silence_torchao()
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    if missing := plan.missing(ranges):
        raise ValueError(
            f"{len(missing)} of {len(plan.groups)} ranges are missing ({', '.join(missing[:3])}...); "
            "calibrate this model, or give the checkpoint that was trained for it"
        )
    with quiet():  # copying a graph warns about torch's own classes
        owned = copy.deepcopy(graph_module)
    twins = dict(zip(graph_module.graph.nodes, owned.graph.nodes, strict=True))
    for node, (inputs, output) in _annotations(graph_module, plan, ranges, is_wide).items():
        _annotate_(twins[node], {twins[source]: spec for source, spec in inputs.items()}, output)
    prepared = prepare_pt2e(owned, _AnnotatedQuantizer())
    # Every activation range is fixed; this one pass lets the observers of the weights see them.
    with torch.no_grad():
        prepared(*(_example(node) for node in prepared.graph.nodes if node.op == "placeholder"))
    return convert_pt2e(prepared, fold_quantize=False)


def silence_torchao() -> None:
    """Keep torchao from reporting on import that its GPU libraries are not for this machine."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _annotations(
    graph_module: GraphModule, plan: Plan, ranges: Mapping[str, QParams], is_wide: bool
) -> dict[Node, tuple[dict[Node, object], object]]:
    """Return the plan in PT2E's terms: the specs of what a node reads, and of what it gives, None where it is float."""
    found: dict[Node, tuple[dict[Node, object], object]] = {}
    specs = {name: _fixed_spec(group.fixed or ranges[name], is_wide) for name, group in plan.groups.items()}
    for node in graph_module.graph.nodes:
        inputs: dict[Node, object] = {}
        is_int8 = node in plan.int8_nodes
        if is_int8 or (node in plan.group_of and node.op == "call_function" and _reads_its_group(node, plan)):
            for source in node.all_input_nodes:
                if source in plan.group_of:
                    inputs[source] = specs[plan.group_of[source].name]
        if node.target == ATEN.cat.default and is_int8:  # constants that are joined to activations take their grid
            inputs |= {part: specs[plan.group_of[node].name] for part in node.args[0] if is_constant(part)}
        elif is_int8:
            inputs |= _constant_specs(graph_module, node, smallest_constant_scale(node, plan, ranges), is_wide)
        elif is_attention_bias(node):
            inputs |= _bias_spec(graph_module, node)
        is_fused_away = is_int8 and fused_activation(node) is not None
        output = None if is_fused_away or node not in plan.group_of else specs[plan.group_of[node].name]
        if inputs or output is not None:
            found[node] = inputs, output
    return found


def _annotate_(node: Node, inputs: dict[Node, object], output: object) -> None:
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation

    node.meta["quantization_annotation"] = QuantizationAnnotation(
        input_qspec_map=inputs,  # type: ignore[arg-type]
        output_qspec=output,  # type: ignore[arg-type]
        _annotated=True,
    )


def _reads_its_group(node: Node, plan: Plan) -> bool:
    """Tell whether `node` only moves values of its own group."""
    group = plan.group_of[node]
    return node not in group.entries and all(plan.group_of.get(source) is group for source in node.all_input_nodes)


def _constant_specs(graph_module: GraphModule, node: Node, smallest_scale: float, is_wide: bool) -> dict[Node, object]:
    """Return the specs of an int8 operator's constant operands: weights per channel, others per tensor."""
    if node.target in GEMM_OPS:
        weight = node.args[1]
        assert isinstance(weight, Node)
        return {weight: _weight_spec()}
    if node.target in MATMUL_OPS:
        return {}
    return {
        arg: _fixed_spec(constant_qparams(graph_module, arg, smallest_scale), is_wide)
        for arg in node.args[:2]
        if isinstance(arg, Node) and is_constant(arg)
    }


def _bias_spec(graph_module: GraphModule, node: Node) -> dict[Node, object]:
    """Store the attention bias in int8, a quarter of its size; the addition itself stays in float."""
    constants = [arg for arg in node.args[:2] if isinstance(arg, Node) and is_constant(arg)]
    if not constants:
        return {}
    return {constants[0]: _fixed_spec(constant_qparams(graph_module, constants[0]))}


def _fixed_spec(qparams: QParams, is_wide: bool = False) -> object:
    from torchao.quantization.pt2e.quantizer import FixedQParamsQuantizationSpec

    if is_wide:
        scale, zero_point = wide_grid(qparams.scale, qparams.zero_point)
        return FixedQParamsQuantizationSpec(
            dtype=torch.int16, scale=scale, zero_point=zero_point, quant_min=-32768, quant_max=32767,
            qscheme=torch.per_tensor_affine,
        )  # fmt: skip
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8, scale=qparams.scale, zero_point=qparams.zero_point, quant_min=-128, quant_max=127,
        qscheme=torch.per_tensor_affine,
    )  # fmt: skip


def _weight_spec() -> object:
    from torchao.quantization.pt2e.observer import PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    return QuantizationSpec(
        dtype=torch.int8, quant_min=-WEIGHT_MAX, quant_max=WEIGHT_MAX, qscheme=torch.per_channel_symmetric, ch_axis=0,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver,
    )  # fmt: skip


def _example(node: Node) -> torch.Tensor:
    return torch.zeros(tuple(int(size) for size in node.meta["val"].shape), dtype=node.meta["val"].dtype)


class _AnnotatedQuantizer:
    """Satisfy PT2E's interface: the graph comes annotated."""

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        return model

    def validate(self, model: GraphModule) -> None:
        return None

    def prepare_obs_or_fq_callback(self, model: GraphModule, edge_or_node_to_obs_or_fq: object) -> None:
        return None
