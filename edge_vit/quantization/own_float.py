"""From a network of the user's own to the float model that quantization and converters take."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from calibration.preprocess import Preprocess
from edge_vit.layers.own_pixels import OwnPixels
from edge_vit.models.own import Color, OwnNetwork, load_network
from edge_vit.models.sources import WeightsSource
from edge_vit.models.user_code import errors_of
from edge_vit.quantization.graph import plain_graph
from edge_vit.quantization.pipeline import FloatModel, StoredIntegers


def build_own(
    own: OwnNetwork, source: WeightsSource, batch: int = 1, classes: Sequence[Mapping[str, str]] | None = None
) -> tuple[FloatModel, WeightsSource]:
    """Call the user's function, load the weights, and see that the network can be exported.

    Args:
        batch: How many pictures a graph that is exported from it will take at once.
        classes: As in `load_network`.

    Returns:
        The model, and the source of its weights with the digest of what the function gave.

    Raises:
        ValueError: If the function, the weights or the network do not fit; the message names the user's line.
    """
    network = load_network(own, source, classes)
    preprocess = network.preprocess
    module = OwnPixels(network.module, preprocess.mean, preprocess.std).eval()
    reason = _try_export(own, module, torch.zeros(batch, *preprocess.size, 3))
    height, width = preprocess.size
    notes = [
        f"pictures: {height} x {width}, crop {preprocess.crop_pct:g}, {preprocess.interpolation}, "
        f"mean {_listed(preprocess.mean)}, std {_listed(preprocess.std)} of RGB in 0 to 1",
        f"weights: {source.label}",
    ]
    if reason:
        notes.append(f"mean and std stay operators of their own: {reason}")
    integers = None
    if source.form == "int8" and source.checkpoint is not None:
        integers = StoredIntegers(tensors=source.checkpoint.tensors, metadata=source.metadata)
    if source.checkpoint is None:
        source = replace(source, digest=network.sha256)
    model = FloatModel(
        module=module,
        preprocess=preprocess,
        classes=network.classes,
        weights=source.label,
        notes=tuple(notes),
        integers=integers,
        own=own,
    )
    return model, source


def from_module(
    net: nn.Module, size: tuple[int, int], mean: Color | None = None, std: Color | None = None
) -> FloatModel:
    """Return the float model of a network in memory.

    Args:
        net: In eval mode, normalised images (B, 3, H, W) -> logits.
        size: Height and width of its pictures, in pixels.
        mean, std: None for ImageNet's.

    Raises:
        ValueError: If it is in training mode.
    """
    if net.training:
        raise ValueError("the network is in training mode; call eval() first")
    said: dict[str, Any] = {key: value for key, value in (("mean", mean), ("std", std)) if value is not None}
    preprocess = Preprocess(resolution=size, **said)
    module = OwnPixels(net, preprocess.mean, preprocess.std).eval()
    return FloatModel(module=module, preprocess=preprocess, classes=[], weights=type(net).__name__, notes=())


def _try_export(own: OwnNetwork, module: nn.Module, example: torch.Tensor) -> str:
    """Return why the normalisation of pixels stays an operator, "" where it does not."""
    with errors_of(own.source, "cannot be exported"):
        graph = plain_graph(module, example)
    return str(graph.meta.get("pixels", ""))


def float_graph(model: FloatModel, batch: int, is_free_batch: bool) -> nn.Module:
    """Return what converters lower in float: our variants as they are, the user's network as a graph in plain form."""
    if model.own is None:
        return model.module
    graph: GraphModule = plain_graph(model.module, torch.zeros(batch, *model.preprocess.size, 3), is_free_batch)
    return graph


def _listed(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4g}" for value in values)
