"""What runs in int8, and on which grids."""

import pytest

from edge_vit.quantization.graph import ATEN
from edge_vit.quantization.plan import GEMM_OPS, PIXELS, RELU6, QParams, make_plan


def test_every_convolution_linear_and_matmul_is_int8(graph):
    plan = make_plan(graph)
    heavy = [n for n in graph.graph.nodes if n.target in GEMM_OPS or n.target == ATEN.bmm.default]
    assert len(heavy) == 65 + 6 + 22 and set(heavy) <= set(plan.int8_nodes)


def test_only_attention_bias_and_softmax_are_float(graph):
    plan = make_plan(graph)
    kinds = {plan.names[node].rsplit(".", 2)[-2] for node in plan.float_nodes}
    assert kinds == {"add", "softmax"} and len(plan.float_nodes) == 22


def test_keys_and_values_are_symmetric(graph):
    plan = make_plan(graph)
    symmetric = {name for name, group in plan.groups.items() if group.kind == "symmetric"}
    assert len(symmetric) == 22
    assert all(name.endswith(("attn.k.linear.0", "attn.v.linear.0")) for name in symmetric)


def test_fixed_grids(graph):
    plan = make_plan(graph)
    assert plan.groups["input"].fixed == PIXELS
    gates = [group for name, group in plan.groups.items() if ".hardtanh." in name]
    assert len(gates) == 25 and all(group.fixed == RELU6 for group in gates)
    # Softmax is computed in float, so its grid is learnt: 1/256 steps would swallow most probabilities.
    assert all(group.kind == "affine" for name, group in plan.groups.items() if ".softmax." in name)


def test_moving_operators_share_the_range_of_what_they_move(graph):
    plan = make_plan(graph)
    for node, group in plan.group_of.items():
        if node.target in (ATEN.view.default, ATEN.transpose.int, ATEN.reshape.default):
            assert plan.group_of[node.args[0]] is group


@pytest.mark.parametrize(("scale", "zero_point"), [(0.0, 0), (-1.0, 0), (float("nan"), 0), (1.0, 128)])
def test_impossible_grids_are_refused(scale, zero_point):
    with pytest.raises(ValueError, match="is not allowed"):
        QParams(scale=scale, zero_point=zero_point)
