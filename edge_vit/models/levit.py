"""LeViT: a pyramid of attention over small token grids behind a convolutional stem.

Paper: "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference", arXiv 2104.01136.
Reference: facebookresearch/LeViT (Apache-2.0); written from the paper and its checkpoint's shapes.
Differences from it, none of which changes the function: tokens keep (B, N, C) throughout; queries, keys and values
of the deploy form are three linear layers on (B * heads, N, D) tensors, so that no tensor has more than four axes and
every matrix product is a three-axis one; the bias table is spread anew in every forward (no cache to go stale).

Of our own: levit_edge_128s, which has ReLU where levit_128s has Hardswish, and the scores' ReLU over the number of keys
where it has softmax. Hardswish costs a table lookup an element and softmax is float between two changes of precision;
ReLU fuses into the operator before it. Measured with benchmarks/tflite_int8.py, instructions on cortex-a76: int8 needs
0.297 of float's (levit_128s 0.328), 33.3 M (38.4 M), with 3 operators that change precision (25).

Shapes: `B` batch, `C` channels, `H`/`W` grid, `N = H * W` tokens, `K` key dim, `V` value dim per head, `h` heads.
"""

import functools
import itertools
from dataclasses import dataclass

from torch import Tensor, nn

from edge_vit.layers.attention import attend, merge_heads, scale_linear_, split_heads, split_rows
from edge_vit.layers.attention_bias import AttentionBias
from edge_vit.layers.conv_norm import ConvNorm, LinearNorm, NormLinear, make_linear, new_conv
from edge_vit.layers.drop_path import DropPath
from edge_vit.layers.fuse import fuse_children
from edge_vit.layers.norm_block import EDGE, PUBLISHED, Attention, Block, DeployAttention, Functions, Mlp
from edge_vit.models.limits import STEM_STRIDE, Resolution, check_limits, check_stem, grid_of


@dataclass(frozen=True, kw_only=True, slots=True)
class LeViTConfig:
    """What tells one LeViT from another; three stages each."""

    embed_dim: tuple[int, int, int]
    key_dim: int
    num_heads: tuple[int, int, int]
    depths: tuple[int, int, int]
    drop_path: float = 0.0
    attn_ratio: int = 2
    mlp_ratio: int = 2
    functions: Functions = PUBLISHED
    num_classes: int = 1000
    resolution: Resolution = 224

    def __post_init__(self) -> None:
        check_stem(self.resolution)
        check_limits(self.num_classes, self.drop_path)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the stages."""
        return self.embed_dim

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels that one pixel of each stage spans."""
        return tuple(STEM_STRIDE << stage for stage in range(3))

    def grid(self, stage: int) -> tuple[int, int]:
        """Return height and width of the token grid in `stage`, counted from 0."""
        return grid_of(self.resolution, stage)


class DownsampleAttention(nn.Module):
    """Attend from every second token to all: halves the grid and widens the channels ("shrinking attention")."""

    def __init__(self, config: "LeViTConfig", stage: int) -> None:
        super().__init__()
        dim, out_dim, key_dim = config.embed_dim[stage - 1], config.embed_dim[stage], config.key_dim
        num_heads, resolution = dim // key_dim, config.grid(stage - 1)
        self.key_dim, self.num_heads, self.resolution = key_dim, num_heads, resolution
        self.value_dim, self.functions = 4 * key_dim, config.functions
        self.kv = LinearNorm(dim, num_heads * (key_dim + self.value_dim))  # rows lie head by head: k, v
        self.q = LinearNorm(dim, num_heads * key_dim)
        self.act = config.functions.act()
        self.proj = LinearNorm(num_heads * self.value_dim, out_dim)
        self.bias = AttentionBias(num_heads, resolution, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, channels = x.shape
        coarse = x.view(batch, *self.resolution, channels)[:, ::2, ::2]
        q = split_heads(self.q(coarse.reshape(batch, -1, channels)), self.num_heads)
        k, v = split_heads(self.kv(x), self.num_heads).split([self.key_dim, self.value_dim], dim=-1)
        x = attend(q * self.key_dim**-0.5, k, v, self.bias(), self.functions.weigh)
        return self.proj(self.act(merge_heads(x, self.num_heads)))

    def fuse(self) -> DeployAttention:
        k, v = split_rows(self.kv.fuse(), self.num_heads, [self.key_dim, self.value_dim])
        q_linear = self.q.fuse()
        scale_linear_(q_linear, self.key_dim**-0.5)
        q = new_conv(q_linear.weight[:, :, None, None], q_linear.bias, stride=2)
        bias = self.bias().detach()
        return DeployAttention(q, k, v, self.proj.fuse(), bias, self.functions, grid=self.resolution)


class Downsample(nn.Module):
    """Shrinking attention, then residual MLP: (B, N, C) -> (B, N / 4 rounded up per side, C_out)."""

    def __init__(self, attn: DownsampleAttention, mlp: Mlp, drop_path: float) -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(x)
        return x + self.drop_path(self.mlp(x))


class Stage(nn.Sequential):
    """One grid size: from the second stage on a downsampling part first, then blocks."""

    def __init__(self, config: LeViTConfig, stage: int) -> None:
        super().__init__()
        dim, key_dim, num_heads = config.embed_dim[stage], config.key_dim, config.num_heads[stage]
        if stage > 0:
            attn = DownsampleAttention(config, stage)
            self.downsample = Downsample(attn, Mlp(dim, config.mlp_ratio, config.functions), config.drop_path)
        self.blocks = nn.Sequential()
        for _ in range(config.depths[stage]):
            bias = AttentionBias(num_heads, config.grid(stage))
            attention = Attention(dim, key_dim, config.attn_ratio * key_dim, num_heads, bias, config.functions)
            self.blocks.append(Block(attention, Mlp(dim, config.mlp_ratio, config.functions), config.drop_path))


class LeViT(nn.Module):
    """Classify images (B, 3, H, W): logits (B, num_classes).

    In training mode the class head's and the distillation head's logits come as a pair; in eval mode their mean.
    """

    def __init__(self, config: LeViTConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim[0]
        widths = [3, dim // 8, dim // 4, dim // 2, dim]
        self.stem = nn.Sequential()
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            self.stem.append(ConvNorm(width_in, width_out, kernel_size=3, stride=2, padding=1))
            if i < 3:
                self.stem.append(config.functions.act())
        self.stages = nn.Sequential(*(Stage(config, stage) for stage in range(3)))
        self.head = NormLinear(config.embed_dim[-1], config.num_classes)
        self.head_dist = NormLinear(config.embed_dim[-1], config.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return pooled features, (B, C_last)."""
        x = self.stem(x).permute(0, 2, 3, 1).flatten(1, 2)  # (B, C, H, W) -> (B, N, C)
        x = self.stages(x)
        height, width = self.config.grid(2)
        # Averaging a grid rather than a token list: runtimes have an int8 mean over two axes, not over one.
        return x.view(x.shape[0], height, width, x.shape[2]).mean((1, 2))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.forward_features(x)
        if self.training:
            return self.head(x), self.head_dist(x)
        return (self.head(x) + self.head_dist(x)) / 2

    def fuse(self) -> nn.Module:
        return DeployLeViT(self)


class DeployLeViT(nn.Module):
    """LeViT with everything folded and one head: (B, 3, H, W) -> logits (B, num_classes)."""

    def __init__(self, model: LeViT) -> None:
        super().__init__()
        self.config, self.stem, self.stages = model.config, model.stem, model.stages
        fuse_children(self)
        head, head_dist = model.head.fuse(), model.head_dist.fuse()
        self.head = make_linear(
            (head.weight.double() + head_dist.weight.double()) / 2, (head.bias.double() + head_dist.bias.double()) / 2
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(LeViT.forward_features(self, x))  # type: ignore[arg-type]


LEVIT_VARIANTS: dict[str, LeViTConfig] = {
    "levit_128s": LeViTConfig(embed_dim=(128, 256, 384), key_dim=16, num_heads=(4, 6, 8), depths=(2, 3, 4)),
    "levit_128": LeViTConfig(embed_dim=(128, 256, 384), key_dim=16, num_heads=(4, 8, 12), depths=(4, 4, 4)),
    "levit_192": LeViTConfig(embed_dim=(192, 288, 384), key_dim=32, num_heads=(3, 5, 6), depths=(4, 4, 4)),
    "levit_256": LeViTConfig(embed_dim=(256, 384, 512), key_dim=32, num_heads=(4, 6, 8), depths=(4, 4, 4)),
    "levit_384": LeViTConfig(
        embed_dim=(384, 512, 768), key_dim=32, num_heads=(6, 9, 12), depths=(4, 4, 4), drop_path=0.1
    ),
    "levit_edge_128s": LeViTConfig(
        embed_dim=(128, 256, 384), key_dim=16, num_heads=(4, 6, 8), depths=(2, 3, 4), functions=EDGE
    ),
}


def remap_checkpoint(state_dict: dict[str, Tensor], config: LeViTConfig) -> dict[str, Tensor]:
    """Rename official, timm or transformers keys to this file's; others stay, so that a strict load names them.

    timm's files with four-axis 1x1 weights become two-axis. Integer index buffers are dropped: they are rebuilt.
    The one head of transformers' class without a teacher becomes both of ours, whose mean it then is.
    """
    rename = {**_official_names(config), **_timm_names(config), **_transformers_names(config)}
    if not any(key.startswith("classifier_distill.") for key in state_dict):
        twins = {f"classifier_distill{key.removeprefix('classifier')}": key for key in state_dict}
        state_dict = state_dict | {
            twin: state_dict[key] for twin, key in twins.items() if key.startswith("classifier.")
        }
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if key.endswith(("attention_bias_idxs", "num_batches_tracked")):
            continue
        if key.startswith("levit."):  # transformers' residual layers are called as a wrapper, which may be left out
            key = key.replace(".module.", ".")
        prefix, _, leaf = key.rpartition(".")
        target = rename.get(key) or (f"{rename[prefix]}.{leaf}" if prefix in rename else key)
        if target.endswith("linear.weight") and value.dim() == 4:
            value = value.flatten(1)
        renamed[target] = value
    return renamed


def _official_names(config: LeViTConfig) -> dict[str, str]:
    names: dict[str, str] = {}
    for i in range(4):
        names |= _pair(f"patch_embed.{2 * i}", f"stem.{2 * i}", "c", "bn", "conv")
    block = 0
    for stage, depth in enumerate(config.depths):
        if stage > 0:
            ours = f"stages.{stage}.downsample"
            for theirs, part in (("kv", "kv"), ("q.1", "q"), ("proj.1", "proj")):
                names |= _pair(f"blocks.{block}.{theirs}", f"{ours}.attn.{part}", "c", "bn")
            names[f"blocks.{block}.attention_biases"] = f"{ours}.attn.bias.table"
            names |= _pair(f"blocks.{block + 1}.m.0", f"{ours}.mlp.fc1", "c", "bn")
            names |= _pair(f"blocks.{block + 1}.m.2", f"{ours}.mlp.fc2", "c", "bn")
            block += 2
        for i in range(depth):
            ours = f"stages.{stage}.blocks.{i}"
            names |= _pair(f"blocks.{block}.m.qkv", f"{ours}.attn.qkv", "c", "bn")
            names |= _pair(f"blocks.{block}.m.proj.1", f"{ours}.attn.proj", "c", "bn")
            names[f"blocks.{block}.m.attention_biases"] = f"{ours}.attn.bias.table"
            names |= _pair(f"blocks.{block + 1}.m.0", f"{ours}.mlp.fc1", "c", "bn")
            names |= _pair(f"blocks.{block + 1}.m.2", f"{ours}.mlp.fc2", "c", "bn")
            block += 2
    for head in ("head", "head_dist"):
        names |= {f"{head}.bn": f"{head}.norm", f"{head}.l": f"{head}.linear"}
    return names


def _timm_names(config: LeViTConfig) -> dict[str, str]:
    names: dict[str, str] = {}
    for i in range(4):
        names |= _pair(f"stem.conv{i + 1}", f"stem.{2 * i}", "linear", "bn", "conv")
    for stage, depth in enumerate(config.depths):
        if stage > 0:
            ours = f"stages.{stage}.downsample"
            theirs = f"{ours}.attn_downsample"
            for their_part, part in (("kv", "kv"), ("q.ln", "q"), ("proj.ln", "proj")):
                names |= _pair(f"{theirs}.{their_part}", f"{ours}.attn.{part}", "linear", "bn")
            names[f"{theirs}.attention_biases"] = f"{ours}.attn.bias.table"
            names |= _pair(f"{ours}.mlp.ln1", f"{ours}.mlp.fc1", "linear", "bn")
            names |= _pair(f"{ours}.mlp.ln2", f"{ours}.mlp.fc2", "linear", "bn")
        for i in range(depth):
            ours = f"stages.{stage}.blocks.{i}"
            names |= _pair(f"{ours}.attn.qkv", f"{ours}.attn.qkv", "linear", "bn")
            names |= _pair(f"{ours}.attn.proj.ln", f"{ours}.attn.proj", "linear", "bn")
            names[f"{ours}.attn.attention_biases"] = f"{ours}.attn.bias.table"
            names |= _pair(f"{ours}.mlp.ln1", f"{ours}.mlp.fc1", "linear", "bn")
            names |= _pair(f"{ours}.mlp.ln2", f"{ours}.mlp.fc2", "linear", "bn")
    for head in ("head", "head_dist"):
        names |= {f"{head}.bn": f"{head}.norm", f"{head}.linear": f"{head}.linear"}
    return names


def _transformers_names(config: LeViTConfig) -> dict[str, str]:
    """Return {their module or tensor: ours}; a stage's downsampling is the end of the one before it there."""
    names: dict[str, str] = {}
    pair = functools.partial(_pair, weight="linear", norm="batch_norm")
    for i in range(4):
        theirs = f"levit.patch_embeddings.embedding_layer_{i + 1}"
        names |= _pair(theirs, f"stem.{2 * i}", "convolution", "batch_norm", "conv")
    for stage, depth in enumerate(config.depths):
        parts = [(f"stages.{stage}.blocks.{i}", "queries_keys_values", "qkv") for i in range(depth)]
        if stage < 2:
            parts.append((f"stages.{stage + 1}.downsample", "keys_values", "kv"))
        for i, (ours, their_linear, our_linear) in enumerate(parts):
            attn, mlp = (f"levit.encoder.stages.{stage}.layers.{layer}" for layer in (2 * i, 2 * i + 1))
            names |= pair(f"{attn}.{their_linear}", f"{ours}.attn.{our_linear}")
            names |= pair(f"{attn}.projection", f"{ours}.attn.proj")
            if our_linear == "kv":
                names |= pair(f"{attn}.queries", f"{ours}.attn.q")
            names[f"{attn}.attention_biases"] = f"{ours}.attn.bias.table"
            names |= pair(f"{mlp}.linear_up", f"{ours}.mlp.fc1") | pair(f"{mlp}.linear_down", f"{ours}.mlp.fc2")
    for theirs, ours in (("classifier", "head"), ("classifier_distill", "head_dist")):
        names |= {f"{theirs}.batch_norm": f"{ours}.norm", f"{theirs}.linear": f"{ours}.linear"}
    return names


def _pair(theirs: str, ours: str, weight: str, norm: str, our_weight: str = "linear") -> dict[str, str]:
    return {f"{theirs}.{weight}": f"{ours}.{our_weight}", f"{theirs}.{norm}": f"{ours}.norm"}
