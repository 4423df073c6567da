"""One walker that turns a model's training form into its deploy form."""

import copy
from typing import cast

from torch import nn


def fuse_children(module: nn.Module) -> None:
    """Replace, in place and depth first, every child that has a `fuse()` by what that returns."""
    for name, child in module.named_children():
        setattr(module, name, fuse_module(child))


def fuse_module(module: nn.Module) -> nn.Module:
    """Return the deploy form of `module`: its own `fuse()` if it has one, else itself with fused children."""
    fuse_method = getattr(module, "fuse", None)
    if fuse_method is not None:
        return cast(nn.Module, fuse_method())
    fuse_children(module)
    return module


def fuse(model: nn.Module) -> nn.Module:
    """Return the deploy form of `model` in eval mode: same function, no batch norm, constants in place of tables.

    The given model is left untouched.
    """
    return fuse_module(copy.deepcopy(model).eval()).eval()
