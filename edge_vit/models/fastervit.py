"""FasterViT: convolution blocks on the large maps, hierarchical attention on the small ones.

Paper: "FasterViT: Fast Vision Transformers with Hierarchical Attention", arXiv 2306.06189.
Reference: NVlabs/FasterViT. Its code and its published weights are under the NVIDIA Source Code License-NC, for
NON-COMMERCIAL use only. This file was written from the paper and from the names and shapes in published checkpoints;
nothing was copied. Whoever loads the published weights is bound by their licence.
Differences from it, none of which changes the function at the published sizes: downsampling stands at the head of a
stage; carriers keep the order of the windows (layers/hierarchical_attention.py). At other sizes, unless the config says
otherwise, windows grow with the picture: half of stage 3's grid, all of stage 4's, which is 7 and 7 at 224.

Of our own: fastervit_edge_0, of mobile size (4.84 M parameters, 562 M multiply-adds), hierarchical attention kept.
Batch norm behind every linear layer stands for layer norm, ReLU for GELU and softmax: layer norm is 9 to 13 float
operators, softmax float between two changes of precision, batch norm and ReLU become part of their neighbours.
Measured with benchmarks/tflite_int8.py on cortex-a76: int8 needs 0.295 of float's instructions, with 3 operators that
change precision (fastervit_0: 155).

Shapes: `B` batch, `C` channels, `H`/`W` map.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edge_vit.layers.conv_norm import ConvNorm, make_linear, norm_scale_shift
from edge_vit.layers.drop_path import DropPath
from edge_vit.layers.fuse import fuse_children
from edge_vit.layers.hierarchical_attention import HierarchicalAttention
from edge_vit.layers.norm_block import EDGE, Functions
from edge_vit.models.limits import check_limits, check_map

NUM_CONV_STAGES = 2
STEM_NORM_EPS = 1e-4
CHANNEL_NORM_EPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class FasterViTConfig:
    """What tells one FasterViT from another; four stages each, each twice as wide as the one before.

    Attributes:
        window_sizes: Of stages 3 and 4; None for half of stage 3's grid and all of stage 4's.
        carrier_size: Side of the carrier grid of a window in stage 3; 0 for no carriers.
        layer_scale: Initial value of the learned scales; None for none.
        functions: Of an edge variant, whose blocks and downsampling have batch norm; None for the published form with
            layer norm, GELU and softmax.
        resolution: Side of the picture, or height and width.
    """

    embed_dim: int
    stem_dim: int
    depths: tuple[int, int, int, int]
    num_heads: tuple[int, int, int, int] = (2, 4, 8, 16)
    window_sizes: tuple[int, int] | None = None
    carrier_size: int = 2
    mlp_ratio: int = 4
    layer_scale: float | None = None
    functions: Functions | None = None
    drop_path: float = 0.0
    num_classes: int = 1000
    resolution: int | tuple[int, int] = 224

    def __post_init__(self) -> None:
        sides = self.image_size
        check_map(self.resolution)
        if self.window_sizes is None and sides[0] != sides[1]:
            raise ValueError(f"resolution {self.resolution} is no square; give window_sizes or use an any_res variant")
        check_limits(self.num_classes, self.drop_path)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the stages."""
        return tuple(self.embed_dim << stage for stage in range(4))

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels that one pixel of each stage spans."""
        return tuple(4 << stage for stage in range(4))

    def grid(self, stage: int) -> tuple[int, int]:
        """Return height and width of the map in `stage`, counted from 0."""
        height, width = self.image_size
        return height // self.strides[stage], width // self.strides[stage]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return (self.resolution, self.resolution) if isinstance(self.resolution, int) else self.resolution

    def window_size(self, stage: int) -> int:
        """Return the side of the windows in `stage`, 2 or 3."""
        if self.window_sizes is not None:
            return self.window_sizes[stage - NUM_CONV_STAGES]
        side = self.grid(stage)[0]
        return math.ceil(side / 2) if stage == NUM_CONV_STAGES else side


class ConvBlock(nn.Module):
    """Add two 3x3 convolutions of the map, an activation between, to it (section 3.3)."""

    def __init__(self, dim: int, drop_path: float, functions: Functions | None) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, dim, 3, padding=1, bias=True)
        self.act = nn.GELU() if functions is None else functions.act()
        self.conv2 = ConvNorm(dim, dim, 3, padding=1, bias=True)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.conv2(self.act(self.conv1(x))))


class Downsample(nn.Module):
    """Normalise each pixel over its channels, then halve the map and double the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=CHANNEL_NORM_EPS)
        self.conv = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class Stage(nn.Sequential):
    """One map size: from the second stage on a downsampling part first, then blocks."""

    def __init__(self, config: FasterViTConfig, stage: int) -> None:
        super().__init__()
        dim, depths = config.embed_dim << stage, config.depths
        if stage > 0:
            has_layer_norm = config.functions is None
            conv = ConvNorm(dim // 2, dim, 3, stride=2, padding=1)
            self.downsample: nn.Module = Downsample(dim // 2) if has_layer_norm else conv
        # Deeper blocks are dropped more often, from never to `drop_path`.
        rates = torch.linspace(0, config.drop_path, sum(depths), device="cpu").tolist()
        rates = rates[sum(depths[:stage]) : sum(depths[: stage + 1])]
        if stage < NUM_CONV_STAGES:
            self.blocks: nn.Module = nn.Sequential(*(ConvBlock(dim, rate, config.functions) for rate in rates))
            return
        carrier_size = config.carrier_size if stage == NUM_CONV_STAGES else 0
        self.blocks = HierarchicalAttention(
            dim,
            config.num_heads[stage],
            config.grid(stage),
            config.window_size(stage),
            rates,
            carrier_size=carrier_size,
            mlp_ratio=config.mlp_ratio,
            layer_scale=config.layer_scale,
            functions=config.functions,
            propagate=config.layer_scale is not None and carrier_size > 0,
        )


class FasterViT(nn.Module):
    """Classify images (B, 3, H, W): logits (B, num_classes)."""

    def __init__(self, config: FasterViTConfig) -> None:
        super().__init__()
        self.config = config
        dim, stem_dim = config.embed_dim, config.stem_dim
        self.stem = nn.Sequential(
            ConvNorm(3, stem_dim, 3, stride=2, padding=1, norm_eps=STEM_NORM_EPS),
            nn.ReLU(),
            ConvNorm(stem_dim, dim, 3, stride=2, padding=1, norm_eps=STEM_NORM_EPS),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(*(Stage(config, stage) for stage in range(4)))
        self.norm = nn.BatchNorm2d(8 * dim)
        self.head = nn.Linear(8 * dim, config.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stages(self.stem(x))).mean((2, 3)))

    def fuse(self) -> nn.Module:
        return DeployFasterViT(self)


class DeployFasterViT(nn.Module):
    """FasterViT with everything foldable folded: (B, 3, H, W) -> logits (B, num_classes)."""

    @torch.no_grad()
    def __init__(self, model: FasterViT) -> None:
        super().__init__()
        self.config, self.stem, self.stages = model.config, model.stem, model.stages
        fuse_children(self)
        scale, shift = norm_scale_shift(model.norm)
        weight = model.head.weight.double()
        self.head = make_linear(weight * scale, model.head.bias.double() + weight @ shift)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x)).permute(0, 2, 3, 1)
        # With channels last, as the runtimes keep them, the mean over two axes needs no transposition.
        return self.head(x.mean((1, 2)))


def _variants() -> dict[str, FasterViTConfig]:
    deep, wide_heads = (3, 3, 12, 5), (4, 8, 16, 32)
    base: dict[str, FasterViTConfig] = {
        "fastervit_0": FasterViTConfig(embed_dim=64, stem_dim=64, depths=(2, 3, 6, 5), drop_path=0.2),
        "fastervit_1": FasterViTConfig(embed_dim=80, stem_dim=32, depths=(1, 3, 8, 5), drop_path=0.2),
        "fastervit_2": FasterViTConfig(embed_dim=96, stem_dim=64, depths=(3, 3, 8, 5), drop_path=0.2),
        "fastervit_3": FasterViTConfig(embed_dim=128, stem_dim=64, depths=deep, layer_scale=1e-5, drop_path=0.3),
        "fastervit_4": FasterViTConfig(
            embed_dim=196, stem_dim=64, depths=deep, num_heads=wide_heads, layer_scale=1e-5, drop_path=0.3
        ),
        "fastervit_5": FasterViTConfig(
            embed_dim=320, stem_dim=64, depths=deep, num_heads=wide_heads, layer_scale=1e-5, drop_path=0.3
        ),
        "fastervit_6": FasterViTConfig(
            embed_dim=320, stem_dim=64, depths=(3, 3, 16, 8), num_heads=wide_heads, layer_scale=1e-5, drop_path=0.5
        ),
    }
    # Fine-tuned from ImageNet-21k: no carriers, windows as large as the maps of stages 3 and 4.
    plain = replace(base["fastervit_4"], carrier_size=0, drop_path=0.42)
    large = {
        f"fastervit_4_21k_{side}": replace(plain, window_sizes=(side // 16, side // 32), resolution=side)
        for side in (224, 384, 512, 768)
    }
    # For pictures of any shape; windows of 12 and 6 divide the default's maps.
    any_res = {
        f"{name}_any_res": replace(config, window_sizes=(12, 6), resolution=(576, 960)) for name, config in base.items()
    }
    edge = {
        "fastervit_edge_0": FasterViTConfig(
            embed_dim=32, stem_dim=32, depths=(1, 2, 4, 2), num_heads=(1, 2, 4, 8), functions=EDGE, drop_path=0.05
        )
    }
    return base | large | any_res | edge


FASTERVIT_VARIANTS: dict[str, FasterViTConfig] = _variants()


def remap_checkpoint(state_dict: dict[str, Tensor], config: FasterViTConfig) -> dict[str, Tensor]:
    """Rename official keys to this file's; keys that are not official stay, so that a strict load names them.

    Buffers that follow from position networks are dropped, whatever they hold: they are rebuilt.
    """
    rename = _official_names(config)
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        key = key.removeprefix("module.").removeprefix("encoder.")
        prefix, _, leaf = key.rpartition(".")
        # The tokenizer's convolution is one tensor stored under two names, of which the later one counts.
        is_twin = prefix.endswith("global_tokenizer.pos_embed")
        if is_twin or leaf.startswith("relative_") or leaf == "num_batches_tracked":
            continue
        renamed[rename.get(key) or (f"{rename[prefix]}.{leaf}" if prefix in rename else key)] = value
    return renamed


def _official_names(config: FasterViTConfig) -> dict[str, str]:
    """Return {their module or tensor: ours}."""
    names: dict[str, str] = {}
    names |= _conv_norm("patch_embed.conv_down.0", "patch_embed.conv_down.1", "stem.0")
    names |= _conv_norm("patch_embed.conv_down.3", "patch_embed.conv_down.4", "stem.2")
    for stage, depth in enumerate(config.depths):
        theirs, ours = f"levels.{stage}", f"stages.{stage}"
        if stage < 3:
            names[f"{theirs}.downsample.norm"] = f"stages.{stage + 1}.downsample.norm"
            names[f"{theirs}.downsample.reduction.0"] = f"stages.{stage + 1}.downsample.conv"
        for i in range(depth):
            block = f"{theirs}.blocks.{i}"
            if stage < NUM_CONV_STAGES:
                for part in (1, 2):
                    names |= _conv_norm(f"{block}.conv{part}", f"{block}.norm{part}", f"{ours}.blocks.{i}.conv{part}")
                continue
            has_carriers = stage == NUM_CONV_STAGES and config.carrier_size > 0
            places, local = ("places", "local") if has_carriers else ("0", "1")
            target = f"{ours}.blocks.blocks.{i}"
            names[f"{block}.pos_embed.cpb_mlp"] = f"{target}.{places}.mlp"
            names |= _token_block(block, "", f"{target}.{local}", ("gamma3", "gamma4"))
            if has_carriers:
                names[f"{block}.hat_pos_embed.cpb_mlp"] = f"{target}.carrier_places.mlp"
                names |= _token_block(block, "hat_", f"{target}.carriers", ("gamma1", "gamma2"))
    names["levels.2.global_tokenizer.to_global_feature.pos"] = "stages.2.blocks.carrier_init.conv"
    # The position networks' layers are numbered alike.
    for theirs, ours in [item for item in names.items() if item[0].endswith("cpb_mlp")]:
        names |= {f"{theirs}.{layer}": f"{ours}.{layer}" for layer in (0, 2)}
    return names


def _conv_norm(conv: str, norm: str, ours: str) -> dict[str, str]:
    return {conv: f"{ours}.conv", norm: f"{ours}.norm"}


def _token_block(block: str, prefix: str, ours: str, scales: tuple[str, str]) -> dict[str, str]:
    names = {f"{block}.{prefix}{part}": f"{ours}.{part}" for part in ("norm1", "norm2")}
    for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        names[f"{block}.{prefix}{part}"] = f"{ours}.{part}"
    names[f"{block}.{prefix}attn.pos_emb_funct.cpb_mlp"] = f"{ours}.attn.bias.mlp"
    return names | {f"{block}.{scales[0]}": f"{ours}.attn_scale", f"{block}.{scales[1]}": f"{ours}.mlp_scale"}
