"""How functions that stand for MIL operators are called: by MIL's parameter names, with plain Python constants."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Ints = tuple[int, ...]
Numbers = tuple[float, ...]


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _sequence(value: Any) -> list[Any]:
    return value.reshape(-1).tolist() if isinstance(value, Tensor) else list(value)


# A parameter's annotation says as what it wants its constant; anything else gets the value itself.
_CONVERSIONS: dict[Any, Callable[[Any], Any]] = {
    int: lambda v: int(_scalar(v)),
    float: lambda v: float(_scalar(v)),
    bool: lambda v: bool(_scalar(v)),
    Ints: lambda v: tuple(int(i) for i in _sequence(v)),
    Numbers: lambda v: tuple(float(i) for i in _sequence(v)),
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function and how its arguments are to be converted."""

    function: Callable[..., Any]
    conversions: dict[str, Callable[[Any], Any]]
    required: frozenset[str]

    def __call__(self, arguments: dict[str, Any]) -> Any:
        plain = {k: self.conversions[k](v) if k in self.conversions else v for k, v in arguments.items()}
        return self.function(**plain)


def make_kernel(function: Callable[..., Any]) -> Kernel:
    """Read a function's annotations."""
    conversions, required, names = {}, set(), inspect.signature(function).parameters
    for name, parameter in names.items():
        kinds = getattr(parameter.annotation, "__args__", ()) if _is_optional(parameter.annotation) else ()
        kind = kinds[0] if kinds else parameter.annotation
        conversions[name] = _CONVERSIONS.get(kind, _as_it_is)
        if parameter.default is parameter.empty:
            required.add(name)
    return Kernel(function, conversions, frozenset(required))


def collect(functions: Sequence[Callable[..., Any]], prefix: str = "mil_") -> dict[str, Kernel]:
    """Return kernels by operator: the functions' names, less a prefix that keeps them apart from Python's own."""
    return {function.__name__.removeprefix(prefix): make_kernel(function) for function in functions}


def _is_optional(annotation: Any) -> bool:
    return type(None) in getattr(annotation, "__args__", ())


def _as_it_is(value: Any) -> Any:
    return value


def unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    """Return the kernel of an operator with the single input `x`."""

    def kernel(x: Tensor) -> Tensor:
        return function(x)

    return make_kernel(kernel)


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    """Return the kernel of an operator with inputs `x` and `y`; a plain number may stand for either."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return function(torch.as_tensor(x), torch.as_tensor(y))

    return make_kernel(kernel)
