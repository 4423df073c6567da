"""EfficientViT: one cascaded group attention in a sandwich of depthwise convolutions and feed-forward layers.

This is Microsoft's EfficientViT (M0 to M5), not MIT-HAN-lab's model of the same name.
Paper: "EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention", arXiv 2305.07027.
Reference: microsoft/Cream, folder EfficientViT (MIT); written from the paper and its checkpoints' shapes.
Differences from it, none of which changes the function: windows are cut by one four-axis transposition; padding for
grids that windows do not divide is fixed when the model is built; in the deploy form attention works on tokens
(B, N, C), and a residual depthwise convolution is one convolution, the identity added to the middle of its kernel.

Of our own: efficientvit_edge_m4, as m4 with the scores' ReLU, cut off at 6, in place of softmax, which is float; one
depthwise convolution a block in place of two and none of the queries, because int8 depthwise convolutions need 0.87 of
float's instructions and dense ones 0.26; two heads in stage 1, where products are small. Measured with
benchmarks/tflite_int8.py, instructions on cortex-a76: int8 needs 0.281 of float's (m4 0.315), with 3 operators that
change precision (51).

Shapes: `B` batch, `C` channels, `H`/`W` grid, `S` window side, `N = S * S` tokens, `K` key dim, `V` value dim per head.
"""

import itertools
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from edge_vit.layers.attention import WEIGHTINGS, Weighting, deploy_weighting, scale_linear_
from edge_vit.layers.attention_bias import AttentionBias
from edge_vit.layers.conv_norm import ConvNorm, NormLinear, make_conv, make_linear
from edge_vit.layers.drop_path import DropPath
from edge_vit.layers.windows import WindowGeometry
from edge_vit.models.limits import STEM_STRIDE, Resolution, check_limits, check_stem, grid_of


@dataclass(frozen=True, kw_only=True, slots=True)
class EfficientViTConfig:
    """What tells one EfficientViT from another; three stages each.

    Attributes:
        kernel_sizes: Of the depthwise convolution of each head's queries; 0 for none.
        weighting: How scores become weights of the keys, "softmax", "relu" or "relu6".
        num_local: Depthwise convolutions a block: 2 as published, or 1, before attention.
    """

    embed_dim: tuple[int, int, int]
    depths: tuple[int, int, int]
    num_heads: tuple[int, int, int]
    kernel_sizes: tuple[int, ...]
    key_dim: int = 16
    window_size: int = 7
    mlp_ratio: int = 2
    weighting: str = "softmax"
    num_local: int = 2
    drop_path: float = 0.0
    num_classes: int = 1000
    resolution: Resolution = 224

    def __post_init__(self) -> None:
        check_stem(self.resolution)
        check_limits(self.num_classes, self.drop_path)
        if len(self.kernel_sizes) < max(self.num_heads):
            raise ValueError(f"{len(self.kernel_sizes)} kernel_sizes for {max(self.num_heads)} heads; give one a head")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting {self.weighting!r} is not allowed; use {' or '.join(WEIGHTINGS)}")
        if self.num_local not in (1, 2):
            raise ValueError(f"num_local {self.num_local} is not allowed; use 1 or 2")
        if any(dim % heads for dim, heads in zip(self.embed_dim, self.num_heads, strict=True)):
            raise ValueError(f"embed_dim {self.embed_dim} is not allowed; use multiples of num_heads {self.num_heads}")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the stages."""
        return self.embed_dim

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels that one pixel of each stage spans."""
        return tuple(STEM_STRIDE << stage for stage in range(3))

    def grid(self, stage: int) -> tuple[int, int]:
        """Return height and width of the map in `stage`, counted from 0."""
        return grid_of(self.resolution, stage)


class DepthwiseResidual(nn.Module):
    """Add a depthwise 3x3 convolution of the map to it."""

    def __init__(self, dim: int, drop_path: float, norm_weight_init: float = 0.0) -> None:
        super().__init__()
        self.conv = ConvNorm(dim, dim, 3, padding=1, groups=dim, norm_weight_init=norm_weight_init)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.conv(x))

    def fuse(self) -> nn.Conv2d:
        conv = self.conv.fuse()
        conv.weight.data[:, :, 1, 1] += 1.0
        return conv


class Ffn(nn.Module):
    """Add two pointwise convolutions of the map, a ReLU between, to it."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.fc1 = ConvNorm(dim, dim * mlp_ratio)
        self.act = nn.ReLU()
        self.fc2 = ConvNorm(dim * mlp_ratio, dim, norm_weight_init=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.fc2(self.act(self.fc1(x))))


class DeployHead(nn.Module):
    """One head on tokens, everything folded: (B, N, C / h) -> (B, N, V).

    Keys come from a convolution, channels first, as (B, K, N). From (B, N, K) and a transposition, TFLite's converter
    makes a product of a single window a FULLY_CONNECTED with computed weights, which XNNPACK does not take.
    """

    bias: Tensor

    def __init__(self, q: nn.Sequential, k: nn.Conv2d, v: nn.Linear, bias: Tensor, weigh: Weighting, size: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.weigh, self.size = q, k, v, weigh, size
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        grid = x.reshape(x.shape[0], self.size, self.size, x.shape[2]).permute(0, 3, 1, 2)  # (B, N, C) -> (B, C, S, S)
        q = self.q(grid).permute(0, 2, 3, 1).flatten(1, 2)  # (B, K, S, S) -> (B, N, K)
        scores = torch.bmm(q, self.k(grid).flatten(2)) + self.bias
        return torch.bmm(self.weigh(scores), self.v(x))


class Head(nn.Module):
    """One head of the cascade on a window's share of the channels: (B, C / h, S, S) -> (B, V, S, S)."""

    def __init__(self, dim: int, key_dim: int, kernel_size: int, weigh: Weighting) -> None:
        super().__init__()
        self.dims, self.weigh = [key_dim, key_dim, dim], weigh
        self.qkv = ConvNorm(dim, sum(self.dims))
        self.q_conv = nn.Sequential()
        if kernel_size:
            self.q_conv = ConvNorm(key_dim, key_dim, kernel_size, padding=kernel_size // 2, groups=key_dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.qkv(x).split(self.dims, dim=1)
        scale = self.dims[0] ** -0.5
        q, k, v = (t.flatten(2).transpose(1, 2) for t in (self.q_conv(q), k, v))  # (B, D, S, S) -> (B, N, D)
        scores = torch.bmm(q * scale, k.transpose(1, 2)) + bias
        out = torch.bmm(self.weigh(scores), v)
        return out.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])  # (B, N, V) -> (B, V, S, S)

    @torch.no_grad()
    def deploy(self, bias: Tensor, size: int) -> DeployHead:
        qkv = self.qkv.fuse()
        assert qkv.bias is not None
        weights, biases = qkv.weight.split(self.dims), qkv.bias.split(self.dims)
        q, k = (make_conv(qkv, weights[i], biases[i]) for i in range(2))
        v = make_linear(weights[2].flatten(1), biases[2])
        queries = nn.Sequential(q)
        if isinstance(self.q_conv, ConvNorm):
            queries.append(self.q_conv.fuse())
        weigh, factor = deploy_weighting(self.weigh, bias.shape[-1])
        scale_linear_(cast(nn.Conv2d, queries[-1]), self.dims[0] ** -0.5)
        scale_linear_(v, factor)
        return DeployHead(queries, k, v, bias, weigh, size)


class DeployAttention(nn.Module):
    """Cascaded group attention in its windows, on tokens, everything folded; adds its result to the map."""

    def __init__(self, heads: list[DeployHead], proj: nn.Linear, geometry: WindowGeometry) -> None:
        super().__init__()
        self.heads, self.proj, self.geometry = nn.ModuleList(heads), proj, geometry
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        size = self.geometry.size
        windows = self.geometry.split(x.permute(0, 2, 3, 1))
        parts = windows.flatten(1, 2).chunk(len(self.heads), dim=2)  # (B', S, S, C) -> h of (B', N, C / h)
        outputs = [self.heads[0](parts[0])]
        for head, part in zip(self.heads[1:], parts[1:], strict=True):
            outputs.append(head(part + outputs[-1]))
        out = self.proj(self.act(torch.cat(outputs, dim=2)))
        out = self.geometry.join(out.reshape(-1, size, size, out.shape[2]))  # (B', N, C) -> (B, H, W, C)
        return x + out.permute(0, 3, 1, 2)


class CascadedGroupAttention(nn.Module):
    """Attend in windows, each head to its split of the channels plus the output of the head before it (section 3.2)."""

    def __init__(self, config: EfficientViTConfig, stage: int) -> None:
        super().__init__()
        dim, num_heads = config.embed_dim[stage], config.num_heads[stage]
        kernel_sizes = config.kernel_sizes[:num_heads]
        self.geometry = WindowGeometry(config.grid(stage), config.window_size)
        weigh = WEIGHTINGS[config.weighting]
        self.heads = nn.ModuleList(Head(dim // num_heads, config.key_dim, size, weigh) for size in kernel_sizes)
        self.act = nn.ReLU()
        self.proj = ConvNorm(dim, dim, norm_weight_init=0.0)
        self.bias = AttentionBias(num_heads, self.geometry.size)
        self.drop_path = DropPath(config.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        windows = self.geometry.split(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        parts, bias = windows.chunk(len(self.heads), dim=1), self.bias()
        outputs = [self.heads[0](parts[0], bias[0])]
        for i in range(1, len(self.heads)):
            outputs.append(self.heads[i](parts[i] + outputs[-1], bias[i]))
        out = self.proj(self.act(torch.cat(outputs, dim=1)))
        return x + self.drop_path(self.geometry.join(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))

    @torch.no_grad()
    def fuse(self) -> DeployAttention:
        proj = self.proj.fuse()
        assert proj.bias is not None
        size = self.geometry.size
        biases = self.bias()
        heads = [cast(Head, head).deploy(biases[i].clone(), size) for i, head in enumerate(self.heads)]
        return DeployAttention(heads, make_linear(proj.weight.flatten(1), proj.bias), self.geometry)


class Block(nn.Sequential):
    """Depthwise convolution and feed-forward layer, attention, and both again (section 3.1); all residual."""

    def __init__(self, config: EfficientViTConfig, stage: int) -> None:
        dim, ratio, drop_path = config.embed_dim[stage], config.mlp_ratio, config.drop_path
        super().__init__()
        self.dw0 = DepthwiseResidual(dim, drop_path)
        self.ffn0 = Ffn(dim, ratio, drop_path)
        self.attn = CascadedGroupAttention(config, stage)
        if config.num_local == 2:
            self.dw1 = DepthwiseResidual(dim, drop_path)
        self.ffn1 = Ffn(dim, ratio, drop_path)


class SqueezeExcite(nn.Module):
    """Scale the channels of a map by what their means say (arXiv 1709.01507)."""

    def __init__(self, dim: int, reduced_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, reduced_dim, 1)
        self.act = nn.ReLU()
        self.fc2 = nn.Conv2d(reduced_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class PatchMerge(nn.Module):
    """Halve the grid by an inverted bottleneck with squeeze-excite: (B, C, H, W) -> (B, C_out, H / 2, W / 2)."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, 4 * dim)
        self.conv2 = ConvNorm(4 * dim, 4 * dim, 3, stride=2, padding=1, groups=4 * dim)
        self.act = nn.ReLU()
        self.se = SqueezeExcite(4 * dim, dim)
        self.conv3 = ConvNorm(4 * dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.se(self.act(self.conv2(self.act(self.conv1(x))))))


class Downsample(nn.Sequential):
    """A depthwise and feed-forward pair on either side of the patch merging."""

    def __init__(self, dim: int, out_dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.dw0 = DepthwiseResidual(dim, drop_path, norm_weight_init=1.0)
        self.ffn0 = Ffn(dim, mlp_ratio, drop_path)
        self.merge = PatchMerge(dim, out_dim)
        self.dw1 = DepthwiseResidual(out_dim, drop_path, norm_weight_init=1.0)
        self.ffn1 = Ffn(out_dim, mlp_ratio, drop_path)


class Stage(nn.Sequential):
    """One grid size: from the second stage on a downsampling part first, then blocks."""

    def __init__(self, config: EfficientViTConfig, stage: int) -> None:
        super().__init__()
        if stage > 0:
            dim, out_dim = config.embed_dim[stage - 1], config.embed_dim[stage]
            self.downsample = Downsample(dim, out_dim, config.mlp_ratio, config.drop_path)
        self.blocks = nn.Sequential(*(Block(config, stage) for _ in range(config.depths[stage])))


class EfficientViT(nn.Module):
    """Classify images (B, 3, H, W): logits (B, num_classes)."""

    def __init__(self, config: EfficientViTConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim[0]
        self.stem = nn.Sequential()
        for i, (width_in, width_out) in enumerate(itertools.pairwise([3, dim // 8, dim // 4, dim // 2, dim])):
            self.stem.append(ConvNorm(width_in, width_out, kernel_size=3, stride=2, padding=1))
            if i < 3:
                self.stem.append(nn.ReLU())
        self.stages = nn.Sequential(*(Stage(config, stage) for stage in range(3)))
        self.head = NormLinear(config.embed_dim[-1], config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x)).permute(0, 2, 3, 1)
        # With channels last, as the runtimes keep them, the mean over two axes needs no transposition.
        return self.head(x.mean((1, 2)))


EFFICIENTVIT_VARIANTS: dict[str, EfficientViTConfig] = {
    "efficientvit_m0": EfficientViTConfig(
        embed_dim=(64, 128, 192), depths=(1, 2, 3), num_heads=(4, 4, 4), kernel_sizes=(5, 5, 5, 5)
    ),
    "efficientvit_m1": EfficientViTConfig(
        embed_dim=(128, 144, 192), depths=(1, 2, 3), num_heads=(2, 3, 3), kernel_sizes=(7, 5, 3, 3)
    ),
    "efficientvit_m2": EfficientViTConfig(
        embed_dim=(128, 192, 224), depths=(1, 2, 3), num_heads=(4, 3, 2), kernel_sizes=(7, 5, 3, 3)
    ),
    "efficientvit_m3": EfficientViTConfig(
        embed_dim=(128, 240, 320), depths=(1, 2, 3), num_heads=(4, 3, 4), kernel_sizes=(5, 5, 5, 5)
    ),
    "efficientvit_m4": EfficientViTConfig(
        embed_dim=(128, 256, 384), depths=(1, 2, 3), num_heads=(4, 4, 4), kernel_sizes=(7, 5, 3, 3)
    ),
    "efficientvit_m5": EfficientViTConfig(
        embed_dim=(192, 288, 384), depths=(1, 3, 4), num_heads=(3, 3, 4), kernel_sizes=(7, 5, 3, 3)
    ),
    "efficientvit_edge_m4": EfficientViTConfig(
        embed_dim=(128, 256, 384),
        depths=(1, 2, 3),
        num_heads=(2, 4, 4),
        kernel_sizes=(0, 0, 0, 0),
        weighting="relu6",
        num_local=1,
    ),
}


def remap_checkpoint(state_dict: dict[str, Tensor], config: EfficientViTConfig) -> dict[str, Tensor]:
    """Rename official or timm keys to this file's; keys that are neither stay, so that a strict load names them.

    Integer index buffers are dropped: they are rebuilt.
    """
    rename = {**_names(config, timm=False), **_names(config, timm=True)}
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if key.endswith(("attention_bias_idxs", "num_batches_tracked")):
            continue
        prefix, _, leaf = key.rpartition(".")
        renamed[rename.get(key) or (f"{rename[prefix]}.{leaf}" if prefix in rename else key)] = value
    return renamed


def _names(config: EfficientViTConfig, timm: bool) -> dict[str, str]:
    """Return {their module or tensor: ours}, in timm's or the official naming."""
    names = {"head.bn": "head.norm", ("head.linear" if timm else "head.l"): "head.linear"}

    def pair(theirs: str, ours: str) -> None:
        names[f"{theirs}.conv" if timm else f"{theirs}.c"] = f"{ours}.conv"
        names[f"{theirs}.bn"] = f"{ours}.norm"

    def sandwich(dw: str, ffn: str, ours: str, number: int) -> None:
        pair(f"{dw}.m", f"{ours}.dw{number}.conv")
        pair(f"{ffn}.m.pw1", f"{ours}.ffn{number}.fc1")
        pair(f"{ffn}.m.pw2", f"{ours}.ffn{number}.fc2")

    for i in range(4):
        pair(f"patch_embed.conv{i + 1}" if timm else f"patch_embed.{2 * i}", f"stem.{2 * i}")
    for stage, depth in enumerate(config.depths):
        if stage > 0:
            ours = f"stages.{stage}.downsample"
            parts = [f"{ours}.{part}" for part in ("res1", "patchmerge", "res2")]
            before, merge, after = parts if timm else [f"blocks{stage + 1}.{i}" for i in range(3)]
            sandwich(f"{before}.0", f"{before}.1", ours, 0)
            for part in ("conv1", "conv2", "conv3"):
                pair(f"{merge}.{part}", f"{ours}.merge.{part}")
            names |= {f"{merge}.se.{part}": f"{ours}.merge.se.{part}" for part in ("fc1", "fc2")}
            sandwich(f"{after}.0", f"{after}.1", ours, 1)
        for block in range(depth):
            ours = f"stages.{stage}.blocks.{block}"
            theirs = ours if timm else f"blocks{stage + 1}.{block + (3 if stage > 0 else 0)}"
            sandwich(f"{theirs}.dw0", f"{theirs}.ffn0", ours, 0)
            for head in range(config.num_heads[stage]):
                pair(f"{theirs}.mixer.m.attn.qkvs.{head}", f"{ours}.attn.heads.{head}.qkv")
                pair(f"{theirs}.mixer.m.attn.dws.{head}", f"{ours}.attn.heads.{head}.q_conv")
            pair(f"{theirs}.mixer.m.attn.proj.1", f"{ours}.attn.proj")
            names[f"{theirs}.mixer.m.attn.attention_biases"] = f"{ours}.attn.bias.table"
            sandwich(f"{theirs}.dw1", f"{theirs}.ffn1", ours, 1)
    return names
