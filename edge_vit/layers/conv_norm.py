"""A convolution or linear layer followed by batch norm, and how the pair becomes one layer.

Shapes: `B` batch, `C` channels, `H`/`W` grid, `N` tokens.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init


class ConvNorm(nn.Sequential):
    """Convolve (B, C, H, W), then batch-normalise.

    Args:
        bias: Whether the convolution has a bias of its own, as some published checkpoints do.
        norm_weight_init: Initial scale of the norm; 0 makes a residual branch start as the identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = False,
        norm_weight_init: float = 1.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(out_channels, eps=norm_eps)
        nn.init.constant_(self.norm.weight, norm_weight_init)

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """Return one convolution equal to this pair in eval mode."""
        scale, shift = norm_scale_shift(self.norm)
        if self.conv.bias is not None:
            shift = shift + self.conv.bias.double() * scale
        return make_conv(self.conv, self.conv.weight.double() * scale[:, None, None, None], shift)


class LinearNorm(nn.Module):
    """Apply a linear layer without bias to tokens (B, N, C), then batch-normalise over B and N."""

    def __init__(self, in_features: int, out_features: int, norm_weight_init: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=False)
        self.norm = nn.BatchNorm1d(out_features)
        nn.init.constant_(self.norm.weight, norm_weight_init)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.norm(x.flatten(0, 1)).view_as(x)

    @torch.no_grad()
    def fuse(self) -> nn.Linear:
        """Return one linear layer equal to this pair in eval mode."""
        scale, shift = norm_scale_shift(self.norm)
        return make_linear(self.linear.weight.double() * scale[:, None], shift)


class NormLinear(nn.Module):
    """Batch-normalise features (B, C), then apply a linear layer: a classifier head."""

    def __init__(self, in_features: int, out_features: int, std: float = 0.02) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_features)
        self.linear = nn.Linear(in_features, out_features)
        nn.init.trunc_normal_(self.linear.weight, std=std)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x))

    @torch.no_grad()
    def fuse(self) -> nn.Linear:
        """Return one linear layer equal to this pair in eval mode."""
        scale, shift = norm_scale_shift(self.norm)
        weight = self.linear.weight.double()
        return make_linear(weight * scale, self.linear.bias.double() + weight @ shift)


def norm_scale_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the float64 scale and shift, each (C,), that `norm` applies in eval mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


@torch.no_grad()
def make_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a float32 linear layer with these values, (out, in) and (out,)."""
    # Without initial values: drawing as many random numbers takes longer than everything else that fusing does.
    linear = cast(nn.Linear, skip_init(nn.Linear, weight.shape[1], weight.shape[0], device=weight.device))
    linear.weight.copy_(weight.float())
    linear.bias.copy_(bias.float())
    return linear


@torch.no_grad()
def make_conv(like: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a float32 convolution with these values, (out, in / groups, kh, kw) and (out,), and `like`'s geometry."""
    return new_conv(weight, bias, like.stride, like.padding, like.groups)


@torch.no_grad()
def new_conv(weight: Tensor, bias: Tensor, stride: Any, padding: Any = 0, groups: int = 1) -> nn.Conv2d:
    """Return a float32 convolution with these values, (out, in / groups, kh, kw) and (out,)."""
    out_channels, in_channels, kernel = weight.shape[0], weight.shape[1] * groups, tuple(weight.shape[2:])
    geometry = (in_channels, out_channels, kernel, stride, padding)
    conv = cast(nn.Conv2d, skip_init(nn.Conv2d, *geometry, groups=groups, device=weight.device))
    assert conv.bias is not None
    conv.weight.copy_(weight.float())
    conv.bias.copy_(bias.float())
    return conv
