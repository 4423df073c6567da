"""Hierarchical attention: tokens attend in windows, and a few carrier tokens a window carry news between windows.

Paper: "FasterViT: Fast Vision Transformers with Hierarchical Attention", arXiv 2306.06189, section 3.3. Written from
the paper and the shapes in published checkpoints; the authors' code is under a NON-COMMERCIAL licence, and nothing of
it is here. The module stands alone: it maps a feature map to one of equal shape and fits into any network.

Carriers keep the order of the windows throughout, so that going from one carrier grid (B, nW * c * c, C) to carriers by
window (B * nW, c * c, C) and back is no more than a reshape; their position tables are laid out in that order.

Shapes: `B` batch, `C` channels, `nW` windows, `S` window side, `N = S * S` tokens, `c` carrier side, `h` heads.
"""

from typing import cast

import torch
from torch import Tensor, nn

from edge_vit.layers import norm_block
from edge_vit.layers.attention import attend, merge_heads, scale_linear_, split_heads
from edge_vit.layers.conv_norm import make_linear, new_conv
from edge_vit.layers.drop_path import DropPath
from edge_vit.layers.fuse import fuse_children
from edge_vit.layers.norm_block import Functions
from edge_vit.layers.position_mlp import PositionBias, PositionEmbedding
from edge_vit.layers.windows import WindowGeometry, partition_windows


class Mlp(nn.Sequential):
    """Two linear layers with a GELU between, on tokens (B, N, C)."""

    def __init__(self, dim: int, mlp_ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim * mlp_ratio)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(dim * mlp_ratio, dim)


class Attention(nn.Module):
    """Attend over all tokens given, (B, N, C), with a bias by position."""

    def __init__(self, dim: int, num_heads: int, bias: PositionBias) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(merge_heads(attend(q * self.scale, k, v, self.bias()), self.num_heads))


class DeployAttention(nn.Module):
    """Attention with scale and norm folded into three linear layers, and a constant bias."""

    bias: Tensor

    def __init__(self, q: nn.Linear, k: nn.Linear, v: nn.Linear, proj: nn.Linear, bias: Tensor) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = q, k, v, proj
        self.num_heads = bias.shape[0]
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(layer(x), self.num_heads) for layer in (self.q, self.k, self.v))
        return self.proj(merge_heads(attend(q, k, v, self.bias), self.num_heads))


class TokenBlock(nn.Module):
    """Residual attention, then residual MLP, each behind a layer norm and with a learned scale if asked for."""

    def __init__(self, attn: Attention, dim: int, mlp_ratio: int, layer_scale: float | None, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), attn
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, mlp_ratio)
        self.drop_path = DropPath(drop_path)
        scales = None if layer_scale is None else torch.full((2, dim), layer_scale)
        self.attn_scale = None if scales is None else nn.Parameter(scales[0].clone())
        self.mlp_scale = None if scales is None else nn.Parameter(scales[1].clone())

    def forward(self, x: Tensor) -> Tensor:
        branch = self.attn(self.norm1(x))
        x = x + self.drop_path(branch if self.attn_scale is None else self.attn_scale * branch)
        branch = self.mlp(self.norm2(x))
        return x + self.drop_path(branch if self.mlp_scale is None else self.mlp_scale * branch)

    @torch.no_grad()
    def fuse(self) -> "DeployTokenBlock":
        attn, mlp = self.attn, self.mlp
        qkv, fc1 = norm_into_linear(self.norm1, attn.qkv), norm_into_linear(self.norm2, mlp.fc1)
        q, k, v = (make_linear(w, b) for w, b in zip(qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True))
        scale_linear_(q, attn.scale)
        proj, fc2 = scale_outputs(attn.proj, self.attn_scale), scale_outputs(mlp.fc2, self.mlp_scale)
        return DeployTokenBlock(
            DeployAttention(q, k, v, proj, attn.bias()), nn.Sequential(fc1, mlp.act, fc2), self.norm1, self.norm2
        )


class DeployTokenBlock(nn.Module):
    """The same with the norms' weights, the query scale and the layer scales folded into linear layers."""

    def __init__(self, attn: DeployAttention, mlp: nn.Sequential, norm1: nn.LayerNorm, norm2: nn.LayerNorm) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(norm1.normalized_shape, eps=norm1.eps, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(norm2.normalized_shape, eps=norm2.eps, elementwise_affine=False)
        self.attn, self.mlp = attn, mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CarrierInit(nn.Module):
    """Summarise each window into c x c carriers: (B, C, H, W), padded -> (B * nW, c * c, C)."""

    def __init__(self, dim: int, geometry: WindowGeometry, carrier_size: int) -> None:
        super().__init__()
        self.carrier_size = carrier_size
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        height, width = geometry.padded
        down, across = geometry.down * carrier_size, geometry.across * carrier_size
        # Where the map is no multiple of the carrier grid, neighbouring pools overlap.
        stride = (height // down, width // across)
        reach = (height - (down - 1) * stride[0], width - (across - 1) * stride[1])
        self.pool = nn.AvgPool2d(reach, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.by_window(self.pool(self.conv(x)))

    def by_window(self, carriers: Tensor) -> Tensor:
        """(B, C, nH * c, nW * c) -> (B * nW, c * c, C)."""
        return partition_windows(carriers.permute(0, 2, 3, 1), self.carrier_size).flatten(1, 2)

    @torch.no_grad()
    def fuse(self) -> "DeployCarrierInit":
        return DeployCarrierInit(self)


class DeployCarrierInit(nn.Module):
    """The same as one depthwise convolution: an average of convolutions is a convolution with the averaged kernel."""

    def __init__(self, init: CarrierInit) -> None:
        super().__init__()
        self.by_window = init.by_window
        weight, bias = init.conv.weight.double(), init.conv.bias
        assert bias is not None
        (down, across), dim = cast(tuple[int, int], init.pool.kernel_size), weight.shape[0]
        kernel = torch.zeros(dim, 1, down + 2, across + 2, dtype=torch.float64)
        for y in range(down):
            for x in range(across):
                kernel[:, :, y : y + 3, x : x + 3] += weight / (down * across)
        self.conv = new_conv(kernel, bias, init.pool.stride, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.by_window(self.conv(x))


class Block(nn.Module):
    """Carriers attend to one another, then join their window's tokens in local attention."""

    def __init__(self, places: nn.Module, local: nn.Module, carrier_places: nn.Module, carriers: nn.Module) -> None:
        super().__init__()
        self.places, self.local, self.carrier_places, self.carriers = places, local, carrier_places, carriers

    def forward(self, x: Tensor, carriers: Tensor, num_windows: int) -> tuple[Tensor, Tensor]:
        per_window = carriers.shape[1]
        carriers = carriers.reshape(-1, num_windows * per_window, carriers.shape[2])
        carriers = self.carriers(self.carrier_places(carriers))
        carriers = carriers.reshape(-1, per_window, carriers.shape[2])
        joint = self.local(torch.cat([carriers, self.places(x)], dim=1))
        return joint[:, per_window:], joint[:, :per_window]


class Propagation(nn.Module):
    """Spread each window's carriers over its tokens, scaled, and add them: nearest upsampling as a constant matrix."""

    spread: Tensor

    def __init__(self, window_size: int, carrier_size: int) -> None:
        super().__init__()
        source = torch.arange(window_size) * carrier_size // window_size
        cell = (source[:, None] * carrier_size + source[None]).flatten()
        spread = (cell[:, None] == torch.arange(carrier_size**2)).float()
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, x: Tensor, carriers: Tensor, scale: Tensor) -> Tensor:
        carriers = (carriers * scale).transpose(1, 2)  # (B, c * c, C) -> (B, C, c * c)
        return x + nn.functional.linear(carriers, self.spread).transpose(1, 2)


class HierarchicalAttention(nn.Module):
    """Blocks of hierarchical attention on a map, (B, C, H, W) -> (B, C, H, W).

    Args:
        dim: Channels.
        num_heads: Heads, of the local and of the carriers' attention.
        grid: Height and width of the map; windows that do not divide it are padded.
        window_size: Side of the windows; smaller maps are one window.
        drop_paths: Drop probability of each block; their number is the number of blocks.
        carrier_size: Side of a window's carrier grid; 0 for plain window attention.
        layer_scale: Initial value of the learned scale of every residual branch; None for no scales.
        functions: Activation and weighting of token blocks with batch norm (layers/norm_block.py); None for the
            published blocks with layer norm, GELU and softmax.
        propagate: Whether the carriers are added to the map at the end; needs carriers and `layer_scale`.
    """

    propagation_scale: Tensor | None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: tuple[int, int],
        window_size: int,
        drop_paths: list[float],
        *,
        carrier_size: int = 2,
        mlp_ratio: int = 4,
        layer_scale: float | None = None,
        functions: Functions | None = None,
        propagate: bool = False,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels; give a divisor")
        if carrier_size and carrier_size > min(window_size, *grid):
            raise ValueError(f"carrier_size {carrier_size} is larger than the windows; use less, or 0 for none")
        if functions is not None and layer_scale is not None:
            raise ValueError("blocks with batch norm have no layer_scale; leave it, or functions, out")
        if propagate and (not carrier_size or layer_scale is None):
            raise ValueError("propagate needs carriers and layer_scale; give both, or leave it off")
        self.geometry = geometry = WindowGeometry(grid, window_size)
        self.num_windows, size, num_global = geometry.down * geometry.across, geometry.size, carrier_size**2
        carrier_grid = (geometry.down * carrier_size, geometry.across * carrier_size)

        def token_block(bias: PositionBias, drop_path: float) -> nn.Module:
            if functions is not None:
                head_dim = dim // num_heads
                attn = norm_block.Attention(dim, head_dim, head_dim, num_heads, bias, functions)
                return norm_block.Block(attn, norm_block.Mlp(dim, mlp_ratio, functions), drop_path)
            return TokenBlock(Attention(dim, num_heads, bias), dim, mlp_ratio, layer_scale, drop_path)

        self.blocks = nn.ModuleList()
        for drop_path in drop_paths:
            places = PositionEmbedding(dim, (size, size))
            local = token_block(PositionBias(num_heads, (size, size), num_global=num_global), drop_path)
            if carrier_size:
                carriers = token_block(PositionBias(num_heads, carrier_grid, carrier_size), drop_path)
                self.blocks.append(Block(places, local, PositionEmbedding(dim, carrier_grid, carrier_size), carriers))
            else:
                self.blocks.append(nn.Sequential(places, local))
        self.carrier_init = CarrierInit(dim, geometry, carrier_size) if carrier_size else None
        self.propagation = Propagation(size, carrier_size) if propagate else None
        self.register_buffer("propagation_scale", None)  # filled when fused

    def forward(self, x: Tensor) -> Tensor:
        geometry, size = self.geometry, self.geometry.size
        x = geometry.pad(x.permute(0, 2, 3, 1))
        tokens = geometry.partition(x).flatten(1, 2)  # (B, H, W, C) -> (B * nW, N, C)
        if self.carrier_init is None:
            for block in self.blocks:
                tokens = block(tokens)
        else:
            carriers = self.carrier_init(x.permute(0, 3, 1, 2))
            for block in self.blocks:
                tokens, carriers = block(tokens, carriers, self.num_windows)
            if self.propagation is not None:
                tokens = self.propagation(tokens, carriers, self.last_carrier_scale())
        x = geometry.join(tokens.reshape(-1, size, size, tokens.shape[2]))
        return x.permute(0, 3, 1, 2)

    def last_carrier_scale(self) -> Tensor:
        """Return the scale of the last block's carrier attention, which propagation shares."""
        if self.propagation_scale is not None:
            return self.propagation_scale
        last = cast(Block, self.blocks[-1])
        return cast(Tensor, last.carriers.attn_scale)

    @torch.no_grad()
    def fuse(self) -> "HierarchicalAttention":
        if self.propagation is not None:
            # Folding takes the parameter away; propagation still needs its values.
            self.register_buffer("propagation_scale", self.last_carrier_scale().detach().clone())
        fuse_children(self)
        return self


def norm_into_linear(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
    """Return a linear layer that, behind `norm` without its weights, equals `linear` behind `norm`."""
    weight = linear.weight.double()
    return make_linear(weight * norm.weight.double(), linear.bias.double() + weight @ norm.bias.double())


def scale_outputs(linear: nn.Linear, scale: Tensor | None) -> nn.Linear:
    """Return a linear layer whose outputs are those of `linear`, each multiplied by its scale."""
    if scale is None:
        return linear
    return make_linear(linear.weight.double() * scale.double()[:, None], linear.bias.double() * scale.double())
