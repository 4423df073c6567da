"""What a plan costs, in instructions of one inference, to choose between plans without converting each.

The factors were fitted to counts by operator of LiteRT with XNNPACK on an emulated cortex-a76, over levit_128s,
efficientvit_m0 and fastervit_edge_0 in float and in int8 (benchmarks/operator_costs.py); tests/quantization holds the
sums against the files' own counts.
"""

from dataclasses import dataclass
from math import prod

from torch.fx import GraphModule, Node

from edge_vit.quantization.graph import ATEN, MOVING_OPS, get_tensor, is_constant
from edge_vit.quantization.plan import FUSED_OPS, MATMUL_OPS, Plan, fused_activation, is_attention_bias, is_softmax

CPU = "cortex-a76"


@dataclass(frozen=True, slots=True)
class _Factors:
    """Instructions for each multiply-add, for each number that an operator gives, and for each call."""

    multiply_add: float = 0.0
    number: float = 0.0
    call: float = 200.0


_INT8 = {
    "gemm": _Factors(0.0715, 4.79, 0), "depthwise": _Factors(0.765, 0.0, 1660), "matmul": _Factors(0.110, 1.94, 2800),
    "add": _Factors(number=2.44), "mul": _Factors(number=2.37), "mean": _Factors(number=10.7, call=1650),
    "sigmoid": _Factors(number=0.58), "softmax": _Factors(number=4.8, call=2780),
    "hardswish": _Factors(number=0.6), "move": _Factors(number=0.58, call=590),
    "concat": _Factors(number=0.14, call=2300), "slice": _Factors(number=0.11, call=910),
}  # fmt: skip
_FLOAT = {
    "gemm": _Factors(0.322, 6.18, 0), "depthwise": _Factors(0.896, 0.0, 1430), "matmul": _Factors(0.346, 2.30, 1770),
    "add": _Factors(number=1.0), "mul": _Factors(number=1.08), "mean": _Factors(number=10.4, call=2520),
    "sigmoid": _Factors(number=9.06), "softmax": _Factors(number=9.95, call=2780), "clip": _Factors(number=1.06),
    "move": _Factors(number=0.94, call=590), "concat": _Factors(number=0.52, call=2770),
    "slice": _Factors(number=0.51, call=900),
}  # fmt: skip
# Around softmaxes, which int8 files compute in float16.
_HALF_QUANTIZE, _HALF_DEQUANTIZE, _HALF_ADD = _Factors(number=0.63), _Factors(number=0.62), _Factors(number=0.5)
_QUANTIZE, _DEQUANTIZE = _Factors(number=1.28), _Factors(number=1.23)
_MOVING = {
    ATEN.transpose.int: "move", ATEN.permute.default: "move", ATEN.slice.Tensor: "slice", ATEN.cat.default: "concat",
}  # fmt: skip


def estimate(graph_module: GraphModule, plan: Plan) -> float:
    """Return the instructions of one inference under a plan.

    Args:
        graph_module: The plan's graph, exported for one picture.
    """
    int8 = set(plan.int8_nodes)
    total = 0.0
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and not is_constant(node):
            family = _family(node, graph_module)
            if family:
                is_half = bool(int8) and (is_softmax(node) or is_attention_bias(node))
                is_int8 = node in int8 or is_half or (family in ("move", "slice", "concat") and node in plan.group_of)
                factors = (_INT8 if is_int8 else _FLOAT).get(_hardswish(node, int8) or family)
                if is_half and family == "add":
                    factors = _HALF_ADD
                if factors is not None:
                    total += _cost(factors, node, _multiply_adds(node, family, graph_module))
        total += _crossings(node, plan, int8)
    return total


def _family(node: Node, graph_module: GraphModule) -> str:
    """Return the kind of operator that costs are known of, "" for what costs next to nothing."""
    if node.target == ATEN.conv2d.default:
        weight = get_tensor(graph_module, node.args[1])
        return "depthwise" if weight.shape[1] == 1 and weight.shape[0] > 1 else "gemm"
    if node.target in FUSED_OPS:
        source = node.args[0]
        return "" if isinstance(source, Node) and fused_activation(source) is node else "clip"
    kinds = {
        ATEN.linear.default: "gemm", ATEN.add.Tensor: "add", ATEN.sub.Tensor: "add", ATEN.mul.Tensor: "mul",
        ATEN.mean.dim: "mean", ATEN.adaptive_avg_pool2d.default: "mean", ATEN.avg_pool2d.default: "mean",
        ATEN.sigmoid.default: "sigmoid", ATEN.softmax.int: "softmax", ATEN._softmax.default: "softmax",
    } | dict.fromkeys(MATMUL_OPS, "matmul") | _MOVING  # fmt: skip
    if getattr(node.target, "__name__", "") == "getitem":
        return "slice"
    return kinds.get(node.target, "")  # type: ignore[call-overload,no-any-return]


def _hardswish(node: Node, int8: set[Node]) -> str:
    """Return "hardswish" for the product of one that XNNPACK joins into a table, "" otherwise; its addition is free."""
    if node not in int8:
        return ""
    clip = ATEN.hardtanh.default
    if node.target == ATEN.mul.Tensor and any(isinstance(a, Node) and a.target == clip for a in node.args):
        return "hardswish"
    fused = fused_activation(node)
    return "free" if node.target == ATEN.add.Tensor and fused is not None and fused.target == clip else ""


def _crossings(node: Node, plan: Plan, int8: set[Node]) -> float:
    """Return what it costs to bring a value to integers, where a float operator gives it, and back to floats."""
    if node not in plan.group_of or node.target in MOVING_OPS or node.op == "placeholder":
        return 0.0
    maker = node.args[0] if node.target in FUSED_OPS else node
    is_made_in_int8 = maker in int8 or node in int8
    readers = _readers(node)
    if not is_made_in_int8:
        return _cost(_HALF_QUANTIZE if is_softmax(node) else _QUANTIZE, node)
    in_float = [reader for reader in readers if reader not in int8 and reader.op == "call_function"]
    if not in_float:
        return 0.0
    is_half = all(is_attention_bias(reader) or is_softmax(reader) for reader in in_float)
    return _cost(_HALF_DEQUANTIZE if is_half else _DEQUANTIZE, node)


def _readers(node: Node) -> list[Node]:
    """Return who computes with a value, moved or not."""
    found: list[Node] = []
    for user in node.users:
        is_moving = user.target in MOVING_OPS or getattr(user.target, "__name__", "") == "getitem"
        found += _readers(user) if is_moving else [user]
    return [reader for reader in found if reader.op != "output"]


def _multiply_adds(node: Node, family: str, graph_module: GraphModule) -> int:
    if family in ("gemm", "depthwise"):
        return _size(node) * prod(get_tensor(graph_module, node.args[1]).shape[1:])
    if family == "matmul":
        left = node.args[0]
        assert isinstance(left, Node)
        return _size(node) * int(left.meta["val"].shape[-1])
    return 0


def _size(node: Node) -> int:
    return prod(int(size) for size in node.meta["val"].shape)


def _cost(factors: _Factors, node: Node, multiply_adds: int = 0) -> float:
    return factors.multiply_add * multiply_adds + factors.number * _size(node) + factors.call
