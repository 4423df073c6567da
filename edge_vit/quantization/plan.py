"""Which operator runs in int8, which in float, and which values share a range.

What runs in int8 is the processor's to say (quantization/processors.py). On a CPU the rules follow what the runtimes'
kernels do on ARM (benchmarks/tflite_int8.py and bench_arm --emulate measure it; docs/quantization.md has the figures):

- int8: convolution, linear, batched matmul (right-hand side symmetric: XNNPACK has no kernel for another zero point),
  addition, subtraction, multiplication, mean, sigmoid, concatenation and everything that only moves values.
- float: softmax and the addition of the attention bias before it. An int8 softmax leaves XNNPACK, costs more than
  one in float16 with all around it, and its result's grid is fixed; with the bias added in float the scores need no
  second quantization. So do layer norm, GELU and whatever is not named here: an unknown operator is a float island, and
  reported as one.
- ReLU and clipping fuse into the operator before them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch.fx import GraphModule, Node

from edge_vit.quantization.graph import ATEN, MOVING_OPS, get_tensor, is_constant, value_names
from edge_vit.quantization.processors import CPU, Processor

GEMM_OPS = frozenset({ATEN.linear.default, ATEN.conv2d.default})
MATMUL_OPS = frozenset({ATEN.bmm.default, ATEN.matmul.default})
SUM_OPS = frozenset({ATEN.add.Tensor, ATEN.sub.Tensor})
ELEMENTWISE_OPS = SUM_OPS | {ATEN.mul.Tensor}
FUSED_OPS = frozenset({ATEN.relu.default, ATEN.relu_.default, ATEN.hardtanh.default, ATEN.hardtanh_.default})
# What processors call the operators; an attention's bias has a name of its own.
KINDS = {
    ATEN.linear.default: "linear", ATEN.conv2d.default: "convolution",
    ATEN.bmm.default: "matrix product", ATEN.matmul.default: "matrix product",
    ATEN.add.Tensor: "addition", ATEN.sub.Tensor: "subtraction", ATEN.mul.Tensor: "multiplication",
    ATEN.mean.dim: "mean", ATEN.adaptive_avg_pool2d.default: "mean", ATEN.avg_pool2d.default: "mean",
    ATEN.cat.default: "concatenation", ATEN.sigmoid.default: "sigmoid", ATEN.gelu.default: "gelu",
    ATEN.softmax.int: "softmax", ATEN._softmax.default: "softmax",
    ATEN.hardswish.default: "hardswish", ATEN.rsqrt.default: "reciprocal root",
}  # fmt: skip

RangeKind = Literal["affine", "symmetric", "fixed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class QParams:
    """An int8 grid: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (self.scale > 0.0 and self.scale < float("inf")):
            raise ValueError(f"scale {self.scale} is not allowed; it must be above 0 and finite")
        if not -128 <= self.zero_point <= 127:
            raise ValueError(f"zero point {self.zero_point} is not allowed; use -128 to 127")


RELU6 = QParams(scale=6.0 / 255.0, zero_point=-128)
PIXELS = QParams(scale=1.0, zero_point=-128)


@dataclass(kw_only=True)
class RangeGroup:
    """Values that lie on one int8 grid.

    Attributes:
        name: Name of the first value in it; the key under which its range is stored.
        kind: "symmetric" has zero point 0, "fixed" is not learnt.
        entries: The nodes that compute values of the group; all others only move them.
    """

    name: str
    kind: RangeKind = "affine"
    fixed: QParams | None = None
    entries: list[Node] = field(default_factory=list)


@dataclass(kw_only=True)
class Plan:
    """The decision for one graph.

    Attributes:
        groups: Every int8 range by name.
        group_of: Node -> its range, for every value that is int8.
        int8_nodes: Operators that compute in int8, in graph order.
        float_nodes: Operators that compute in float although the graph is quantized, in graph order.
    """

    groups: dict[str, RangeGroup]
    group_of: dict[Node, RangeGroup]
    int8_nodes: list[Node]
    float_nodes: list[Node]
    names: dict[Node, str]

    def missing(self, ranges: Mapping[str, QParams]) -> list[str]:
        """Return the names of the groups that have no range yet."""
        return [name for name, group in self.groups.items() if group.kind != "fixed" and name not in ranges]


def make_plan(
    graph_module: GraphModule,
    pixel_input: bool = True,
    processor: Processor = CPU,
    keep_float: Collection[str] = (),
) -> Plan:
    """Decide for every operator of an exported deploy-form graph.

    Args:
        pixel_input: The graph's input holds pixels 0 to 255, which int8 carries exactly.
        keep_float: Names of operators that compute in float although they could compute in int8.

    Raises:
        ValueError: If an operator has no integer form and the processor no floats.
    """
    names = value_names(graph_module)
    nodes = [node for node in graph_module.graph.nodes if node.op == "call_function"]
    int8_nodes = [node for node in nodes if _kind(node) in processor.int8 and names[node] not in keep_float]
    quantized = _quantized_values(int8_nodes, graph_module)
    group_of = _merge_groups(graph_module, quantized, names)
    groups = {group.name: group for group in group_of.values()}
    for group in groups.values():
        group.entries = [n for n in graph_module.graph.nodes if group_of.get(n) is group and not _is_moving(n)]
        _set_kind(group, pixel_input, processor)
    for node in int8_nodes:
        if node.target in MATMUL_OPS:
            right = group_of[node.args[1]]  # type: ignore[index]
            assert right.kind != "fixed", f"{names[node]}: a probability is the right-hand side of a matmul"
            right.kind = "symmetric"
    known = {node for node in nodes if node.target in MOVING_OPS or node.target in FUSED_OPS} | set(int8_nodes)
    float_nodes = [n for n in nodes if n not in known and _is_computation(n)]
    if float_nodes and not processor.has_floats:
        raise ValueError(
            f"{len(float_nodes)} operators have no integer form and --processor {processor.name} has no floats: "
            f"{', '.join(names[node] for node in float_nodes[:3])}; use --processor cpu"
        )
    return Plan(groups=groups, group_of=group_of, int8_nodes=int8_nodes, float_nodes=float_nodes, names=names)


def ranges_of(plan: Plan, whole: Plan, ranges: Mapping[str, QParams]) -> dict[str, QParams]:
    """Return the ranges of a plan that has fewer int8 operators than another, `whole`, of the same graph.

    Values that were on one range only because an operator joined them, which is in float now, keep that range each.
    """
    found: dict[str, QParams] = {}
    for node, group in plan.group_of.items():
        before = whole.group_of[node]
        if group.fixed is None:
            found.setdefault(group.name, before.fixed or ranges[before.name])
    return found


def constant_qparams(graph_module: GraphModule, node: object, smallest_scale: float = 0.0) -> QParams:
    """Return the grid of a constant operand, symmetric by its largest value."""
    largest = float(get_tensor(graph_module, node).detach().abs().max())
    return QParams(scale=max(max(largest, 1e-6) / 127.0, smallest_scale), zero_point=0)


def smallest_constant_scale(node: Node, plan: Plan, ranges: Mapping[str, QParams]) -> float:
    """Return the finest scale of a constant that `node` adds; 0 where any will do.

    XNNPACK adds in int8 what has at least 2**-10 of the sum's scale. A trained position embedding may be smaller than
    that; the steps it loses are far below one step of the sum. The result is a number that float16 holds.
    """
    group = plan.group_of.get(fused_activation(node) or node)
    if node.target not in SUM_OPS or group is None:
        return 0.0
    least = (group.fixed or ranges[group.name]).scale * 2.0**-10
    half = np.float16(least)
    return float(half if half >= least else np.nextafter(half, np.float16(np.inf)))


def is_attention_bias(node: Node) -> bool:
    """Tell whether `node` adds a constant to scores that go, moved or not, into a softmax."""
    return node.target == ATEN.add.Tensor and any(_leads_to_softmax(user) for user in node.users)


def _leads_to_softmax(node: Node) -> bool:
    return is_softmax(node) or (node.target in MOVING_OPS and any(_leads_to_softmax(user) for user in node.users))


def is_softmax(node: Node) -> bool:
    return node.target in (ATEN.softmax.int, ATEN._softmax.default)


def fused_activation(node: Node) -> Node | None:
    """Return the ReLU or clipping that alone reads `node` and fuses into it."""
    users = list(node.users)
    can_fuse = node.target in GEMM_OPS or node.target in ELEMENTWISE_OPS
    return users[0] if can_fuse and len(users) == 1 and users[0].target in FUSED_OPS else None


def _kind(node: Node) -> str:
    """Return what processors call an operator, "" for one that they do not know."""
    if not is_plain(node):
        return ""
    return "attention bias" if is_attention_bias(node) else KINDS.get(node.target, "")  # type: ignore[call-overload]


def is_plain(node: Node) -> bool:
    """Tell whether an operator computes floats from floats in the form that our rules know: weights are stored, what a
    matmul multiplies are activations."""
    values = [one.meta.get("val") for one in (node, *node.all_input_nodes)]
    if node.kwargs or any(isinstance(v, torch.Tensor) and not v.is_floating_point() for v in values):
        return False
    if node.target in MATMUL_OPS:
        return not any(is_constant(operand) for operand in node.args[:2])
    if node.target in GEMM_OPS:
        weight = node.args[1]
        return isinstance(weight, Node) and weight.op == "get_attr" and not is_constant(node.args[0])
    return any(isinstance(one, Node) and not is_constant(one) for one in node.all_input_nodes)


def _is_moving(node: Node) -> bool:
    return node.target in MOVING_OPS or node.target == ATEN.cat.default or _is_getitem(node)


def _is_getitem(node: Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _is_computation(node: Node) -> bool:
    value = node.meta.get("val")
    if node.target == ATEN.repeat.default or _is_getitem(node):
        return False
    return isinstance(value, torch.Tensor) and value.dtype.is_floating_point


def _quantized_values(int8_nodes: list[Node], graph_module: GraphModule) -> set[Node]:
    """Return every activation that an int8 operator reads or writes."""
    quantized: set[Node] = set()
    for node in int8_nodes:
        quantized.add(fused_activation(node) or node)
        operands = node.args[0] if node.target == ATEN.cat.default else node.args
        quantized |= {arg for arg in operands if isinstance(arg, Node) and not is_constant(arg)}  # type: ignore[union-attr]
    # What a moving operator reads is on the grid of what it gives.
    for node in reversed(graph_module.graph.nodes):
        if node in quantized and _is_moving(node) and node.target != ATEN.cat.default and not is_constant(node):
            quantized.add(node.args[0])
    return quantized


def _merge_groups(graph_module: GraphModule, quantized: set[Node], names: dict[Node, str]) -> dict[Node, RangeGroup]:
    """Give every quantized value a group; moving and concatenating keep the group of what they read."""
    parent: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        while parent.get(node, node) is not node:
            node = parent[node]
        return node

    order = {node: i for i, node in enumerate(graph_module.graph.nodes)}
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or not _is_moving(node):
            continue
        sources = node.args[0] if node.target == ATEN.cat.default else [node.args[0]]
        for source in sources:  # type: ignore[union-attr]
            if source in quantized:
                quantized.add(node)
                first, second = sorted((root(node), root(source)), key=order.__getitem__)  # type: ignore[arg-type]
                parent[second] = first
    groups: dict[Node, RangeGroup] = {}
    for node in sorted(quantized, key=order.__getitem__):
        groups.setdefault(root(node), RangeGroup(name=names[root(node)]))
    return {node: groups[root(node)] for node in sorted(quantized, key=order.__getitem__)}


def _set_kind(group: RangeGroup, pixel_input: bool, processor: Processor) -> None:
    fixed = {_fixed_grid(entry, pixel_input, processor) for entry in group.entries}
    if len(fixed) == 1 and None not in fixed:
        group.kind, group.fixed = "fixed", fixed.pop()


def _fixed_grid(node: Node, pixel_input: bool, processor: Processor) -> QParams | None:
    if (grid := processor.grids.get(_kind(node))) is not None:
        return QParams(scale=grid[0], zero_point=grid[1])
    if node.target == ATEN.hardtanh.default and tuple(node.args[1:3]) == (0.0, 6.0):
        # A Hardswish's gate reaches both ends; what a layer gives, cut off at 6, may stay far below.
        return None if getattr(node.args[0], "target", None) in GEMM_OPS else RELU6
    return PIXELS if pixel_input and node.op == "placeholder" else None
