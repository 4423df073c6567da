"""Graph modules write their Python code when somebody reads it, not at every change."""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen

_WRITTEN = ("forward", "_code", "_lineno_map", "_prologue_start")  # what torch's recompile sets


@contextlib.contextmanager
def late_code() -> Iterator[None]:
    """While the block runs, let graph modules put off `recompile` until their code is called or looked at.

    Lowering tools run dozens of passes, each of which makes a new module of a few hundred operators. They interpret its
    graph; its code, a sixth of the time of lowering, is hardly ever called. What is put off is done on demand, also
    after the block.
    """
    recompile = GraphModule.recompile

    def put_off(self: GraphModule) -> Any:
        if isinstance(self._graph._codegen, _PyTreeCodeGen):
            self._in_spec = self._graph._codegen.pytree_info.in_spec
            self._out_spec = self._graph._codegen.pytree_info.out_spec
        kind = type(self)  # torch makes a class for every graph module
        for name in _WRITTEN:
            self.__dict__.pop(name, None)
            setattr(kind, name, _Unwritten(name, weakref.ref(self), recompile))
        kind.__reduce__ = _reduce  # type: ignore[assignment,method-assign]
        return _Code(self, recompile)

    GraphModule.recompile = put_off  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        GraphModule.recompile = recompile  # type: ignore[method-assign]


def _reduce(self: GraphModule) -> Any:
    """Write the code before torch looks for it among what is to be pickled."""
    assert self.code
    return GraphModule.__reduce__(self)


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """In the place of an attribute: writes the code when it is asked for."""

    name: str
    module: "weakref.ref[GraphModule]"
    recompile: Callable[[GraphModule], Any]

    def __get__(self, instance: GraphModule | None, owner: type) -> Any:
        module = instance if instance is not None else self.module()
        assert module is not None
        for name in _WRITTEN:
            if isinstance(owner.__dict__.get(name), _Unwritten):
                delattr(owner, name)
        self.recompile(module)
        return getattr(module if instance is not None else owner, self.name)


@dataclass(frozen=True, slots=True)
class _Code:
    """What `recompile` returns, whose attributes pickling reads."""

    module: GraphModule
    recompile: Callable[[GraphModule], Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recompile(self.module), name)
