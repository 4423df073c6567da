"""MIL operators that work element by element, and reductions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.coreml.mil.kernel import Ints, Kernel, binary, collect, unary

_CAST = {
    "bool": torch.bool, "fp16": torch.float16, "fp32": torch.float32, "int8": torch.int8, "uint8": torch.uint8,
    "int16": torch.int16, "uint16": torch.int32, "int32": torch.int32, "int64": torch.int64,
}  # fmt: skip


def cast(x: Tensor, dtype: str) -> Tensor:
    return torch.as_tensor(x).to(_CAST[dtype])


def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return x.clamp(alpha, beta)


def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return F.leaky_relu(x, alpha).clamp(max=beta)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    return 1 / (x + epsilon)


def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    return torch.log(x + epsilon)


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return F.prelu(x, alpha.reshape(-1))


def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    return 1 / torch.sqrt(x + epsilon)


def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(torch.as_tensor(cond).bool(), a, b)


def sigmoid_hard(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    shape = (-1, *[1] * (x.dim() - 2))
    return alpha.view(shape) * torch.log1p(torch.exp(beta.view(shape) * x))


def threshold(x: Tensor, alpha: float) -> Tensor:
    return x.clamp(min=alpha)


def thresholded_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    x = x.flip(axis) if reverse else x
    total = x.cumsum(axis)
    total = total - x if exclusive else total
    return total.flip(axis) if reverse else total


def _reduction(name: str) -> Kernel:
    def kernel(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        return _reduce(name, x, list(range(x.dim())) if axes is None else list(axes), keep_dims)

    return collect([kernel])["kernel"]


def _reduce(name: str, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if name == "prod":
        for axis in sorted((a % x.dim() for a in axes), reverse=True):
            x = x.prod(axis, keepdim=keep)
        return x
    functions: dict[str, Any] = {
        "l1_norm": lambda: x.abs().sum(axes, keep),
        "l2_norm": lambda: x.square().sum(axes, keep).sqrt(),
        "log_sum": lambda: x.sum(axes, keep).log(),
        "log_sum_exp": lambda: x.logsumexp(axes, keep),
        "max": lambda: x.amax(axes, keep),
        "mean": lambda: x.mean(axes, keep),
        "min": lambda: x.amin(axes, keep),
        "sum": lambda: x.sum(axes, keep),
        "sum_square": lambda: x.square().sum(axes, keep),
    }
    return functions[name]()


def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    return x.argmax(axis, keep_dims)


def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    return x.argmin(axis, keep_dims)


def _divide(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() or y.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


_REDUCTIONS = ("l1_norm", "l2_norm", "log_sum", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square")
OPERATORS: dict[str, Kernel] = {
    "abs": unary(torch.abs), "acos": unary(torch.acos), "asin": unary(torch.asin), "atan": unary(torch.atan),
    "atanh": unary(torch.atanh), "ceil": unary(torch.ceil), "cos": unary(torch.cos), "cosh": unary(torch.cosh),
    "erf": unary(torch.erf), "exp": unary(torch.exp), "exp2": unary(torch.exp2), "floor": unary(torch.floor),
    "identity": unary(lambda x: x), "logical_not": unary(torch.logical_not), "relu": unary(torch.relu),
    "relu6": unary(lambda x: x.clamp(0, 6)), "round": unary(torch.round), "sigmoid": unary(torch.sigmoid),
    "sign": unary(torch.sign), "silu": unary(F.silu), "sin": unary(torch.sin), "sinh": unary(torch.sinh),
    "softplus": unary(lambda x: torch.logaddexp(x, torch.zeros_like(x))), "softsign": unary(F.softsign),
    "sqrt": unary(torch.sqrt), "square": unary(torch.square), "tan": unary(torch.tan), "tanh": unary(torch.tanh),
    "add": binary(torch.add), "equal": binary(torch.eq), "floor_div": binary(torch.floor_divide),
    "greater": binary(torch.gt), "greater_equal": binary(torch.ge), "less": binary(torch.lt),
    "less_equal": binary(torch.le), "logical_and": binary(torch.logical_and), "logical_or": binary(torch.logical_or),
    "logical_xor": binary(torch.logical_xor), "maximum": binary(torch.maximum), "minimum": binary(torch.minimum),
    "mod": binary(torch.remainder), "mul": binary(torch.mul), "not_equal": binary(torch.ne), "pow": binary(torch.pow),
    "real_div": binary(_divide), "sub": binary(torch.sub),
    **{f"reduce_{name}": _reduction(name) for name in _REDUCTIONS},
    **collect([
        cast, clip, clamped_relu, elu, gelu, inverse, leaky_relu, linear_activation, log, prelu, rsqrt, scaled_tanh,
        select, sigmoid_hard, softmax, softplus_parametric, threshold, thresholded_relu, cumsum, reduce_argmax,
        reduce_argmin,
    ]),
}  # fmt: skip
