"""Parameters and multiply-adds of a model, counted on the model itself."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge_vit.layers.conv_norm import ConvNorm, LinearNorm, NormLinear
from edge_vit.layers.position_mlp import PositionBias, PositionEmbedding
from edge_vit.models.fastervit import FasterViT
from edge_vit.models.registry import create_model, get_spec, image_size

_EXTRA_COUNTERS = {torch.ops.aten._softmax: lambda shape, *args, out_shape=None, **kwargs: 2 * _num_elements(shape)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSummary:
    """What `python -m edge_vit.models` prints of a variant.

    Attributes:
        num_params: Parameters of the training form.
        num_params_folded: The same once every batch norm is folded into its neighbour.
        num_params_position: Parameters of position networks, which the deploy form replaces by constants.
        mmac: Millions of multiply-adds for one image: convolutions, linear layers, attention's products, and one for
            each element of a softmax, as LeViT's authors count.
    """

    name: str
    family: str
    height: int
    width: int
    num_params: int
    num_params_folded: int
    num_params_position: int
    mmac: float


def summarise(name: str, num_classes: int = 1000, resolution: int | tuple[int, int] | None = None) -> ModelSummary:
    """Count variant `name` without allocating its weights."""
    with torch.device("meta"), torch.no_grad():
        model = create_model(name, num_classes, resolution).eval()
        height, width = image_size(model)
        counter = FlopCounterMode(display=False, custom_mapping=_EXTRA_COUNTERS)
        with counter:
            model(torch.empty(1, 3, height, width))
    num_params = sum(p.numel() for p in model.parameters())
    return ModelSummary(
        name=name,
        family=get_spec(name).family,
        height=height,
        width=width,
        num_params=num_params,
        num_params_folded=num_params - _num_foldable(model),
        num_params_position=_num_position(model),
        mmac=counter.get_total_flops() / 2e6,
    )


def _num_foldable(model: nn.Module) -> int:
    """Return how many parameters the batch norms hold, less the biases that folding adds."""
    saved = 0
    for module in model.modules():
        if isinstance(module, NormLinear):
            saved += 2 * module.norm.num_features
        elif isinstance(module, ConvNorm | LinearNorm):
            layer = module.conv if isinstance(module, ConvNorm) else module.linear
            saved += module.norm.num_features * (1 if layer.bias is None else 2)
    if isinstance(model, FasterViT):
        saved += 2 * model.norm.num_features
    return saved


def _num_position(model: nn.Module) -> int:
    networks = [m for m in model.modules() if isinstance(m, PositionBias | PositionEmbedding)]
    return sum(p.numel() for network in networks for p in network.parameters())


def _num_elements(shape: Any) -> int:
    return torch.Size(shape).numel()
