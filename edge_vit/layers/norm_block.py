"""Token blocks with batch norm behind every linear layer, as LeViT has them: in the deploy form nothing of it is left.

Paper: "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference", arXiv 2104.01136, section 4.2.
Activation and weighting of the keys are given: with ReLU for both, every operator of the deploy form runs in int8.

Shapes: `B` batch, `C` channels, `H`/`W` grid, `N` tokens, `K` key dim, `V` value dim per head, `h` heads.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from edge_vit.layers.attention import (
    WEIGHTINGS,
    Weighting,
    attend,
    deploy_weighting,
    merge_heads,
    scale_linear_,
    split_heads,
    split_rows,
)
from edge_vit.layers.conv_norm import LinearNorm
from edge_vit.layers.drop_path import DropPath

ACTIVATIONS: dict[str, type[nn.Module]] = {"hardswish": nn.Hardswish, "relu": nn.ReLU}


@dataclass(frozen=True, kw_only=True, slots=True)
class Functions:
    """The nonlinear functions of a network.

    Attributes:
        activation: "hardswish" or "relu".
        weighting: How scores become weights of the keys, "softmax", "relu" or "relu6".
    """

    activation: str
    weighting: str

    def __post_init__(self) -> None:
        for field, allowed in (("activation", ACTIVATIONS), ("weighting", WEIGHTINGS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} {getattr(self, field)!r} is not allowed; use {' or '.join(allowed)}")

    def act(self) -> nn.Module:
        """Return the activation's module."""
        return ACTIVATIONS[self.activation]()

    @property
    def weigh(self) -> Weighting:
        """The weighting's function."""
        return WEIGHTINGS[self.weighting]


PUBLISHED = Functions(activation="hardswish", weighting="softmax")
EDGE = Functions(activation="relu", weighting="relu")


class DeployAttention(nn.Module):
    """Attention with everything foldable folded: batch norm, scale, bias table, interleaved qkv rows.

    `q` takes tokens when `grid` is None, else the (B, C, H, W) map, which a strided 1x1 convolution subsamples.
    """

    bias: Tensor

    def __init__(
        self,
        q: nn.Module,
        k: nn.Linear,
        v: nn.Linear,
        proj: nn.Linear,
        bias: Tensor,
        functions: Functions,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj, self.act = q, k, v, proj, functions.act()
        self.weigh, factor = deploy_weighting(functions.weigh, bias.shape[-1])
        if factor != 1.0:
            scale_linear_(v, factor)
        self.register_buffer("bias", bias)
        self.num_heads, self.grid = bias.shape[0], grid

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None:
            q = self.q(x)
        else:
            # Permuting four axes at once, where converters to channels-last formats see that nothing moves.
            grid = x.view(x.shape[0], *self.grid, x.shape[2]).permute(0, 3, 1, 2)
            q = self.q(grid).permute(0, 2, 3, 1).flatten(1, 2)  # (B, C', H', W') -> (B, N', C')
        q, k, v = (split_heads(t, self.num_heads) for t in (q, self.k(x), self.v(x)))
        x = merge_heads(attend(q, k, v, self.bias, self.weigh), self.num_heads)
        return self.proj(self.act(x))


class Attention(nn.Module):
    """Attend over all tokens given, (B, N, C), with learned biases.

    Args:
        bias: Module without arguments that returns (h, N, N).
    """

    def __init__(
        self, dim: int, key_dim: int, value_dim: int, num_heads: int, bias: nn.Module, functions: Functions
    ) -> None:
        super().__init__()
        self.key_dim, self.value_dim, self.num_heads, self.functions = key_dim, value_dim, num_heads, functions
        self.qkv = LinearNorm(dim, num_heads * (2 * key_dim + value_dim))  # rows lie head by head: q, k, v
        self.act = functions.act()
        self.proj = LinearNorm(num_heads * value_dim, dim, norm_weight_init=0.0)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        qkv = split_heads(self.qkv(x), self.num_heads)  # (B * h, N, 2 K + V)
        q, k, v = qkv.split([self.key_dim, self.key_dim, self.value_dim], dim=-1)
        x = attend(q * self.key_dim**-0.5, k, v, self.bias(), self.functions.weigh)
        return self.proj(self.act(merge_heads(x, self.num_heads)))

    def fuse(self) -> DeployAttention:
        q, k, v = split_rows(self.qkv.fuse(), self.num_heads, [self.key_dim, self.key_dim, self.value_dim])
        scale_linear_(q, self.key_dim**-0.5)
        return DeployAttention(q, k, v, self.proj.fuse(), self.bias().detach(), self.functions)


class Mlp(nn.Module):
    """Two linear layers with an activation between, on tokens (B, N, C)."""

    def __init__(self, dim: int, mlp_ratio: int, functions: Functions) -> None:
        super().__init__()
        self.fc1 = LinearNorm(dim, dim * mlp_ratio)
        self.act = functions.act()
        self.fc2 = LinearNorm(dim * mlp_ratio, dim, norm_weight_init=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Residual attention, then residual MLP, on tokens (B, N, C)."""

    def __init__(self, attn: Attention, mlp: Mlp, drop_path: float) -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))
