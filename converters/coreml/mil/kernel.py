"""How functions that stand for MIL operators are called: by MIL's parameter names, with plain Python constants."""

import inspect
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Ints = tuple[int, ...]


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


# A parameter's annotation says as what it wants its constant; any other gets the value itself.
_CONVERSIONS: dict[Any, Callable[[Any], Any]] = {
    int: lambda v: int(_scalar(v)),
    float: lambda v: float(_scalar(v)),
    bool: lambda v: bool(_scalar(v)),
    Ints: lambda v: tuple(int(i) for i in (v.reshape(-1).tolist() if isinstance(v, Tensor) else v)),
    list[Tensor]: lambda v: v if isinstance(v, list) else [v],
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function, its parameters, those that it cannot do without, and how some are converted."""

    function: Callable[..., Any]
    names: Set[str]
    required: Set[str]
    conversions: dict[str, Callable[[Any], Any]]

    def __call__(self, arguments: dict[str, Any]) -> Any:
        plain = {k: self.conversions[k](v) if k in self.conversions else v for k, v in arguments.items()}
        return self.function(**plain)


def make_kernel(function: Callable[..., Any]) -> Kernel:
    """Read a function's annotations."""
    parameters = inspect.signature(function).parameters
    kinds = {name: _without_none(parameter.annotation) for name, parameter in parameters.items()}
    return Kernel(
        function=function,
        names=frozenset(parameters),
        required=frozenset(name for name, p in parameters.items() if p.default is p.empty),
        conversions={name: _CONVERSIONS[kind] for name, kind in kinds.items() if kind in _CONVERSIONS},
    )


def _without_none(annotation: Any) -> Any:
    kinds: tuple[Any, ...] = getattr(annotation, "__args__", ())
    return kinds[0] if type(None) in kinds else annotation


def unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    """Return the kernel of an operator with the single input `x`."""

    def kernel(x: Tensor) -> Tensor:
        return function(x)

    return make_kernel(kernel)


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    """Return the kernel of an operator with inputs `x` and `y`."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return make_kernel(kernel)
