"""Every variant by name, and how to make one."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from edge_vit.models import efficientvit, fastervit, levit
from edge_vit.models.features import FeatureModel, TokenFeatureModel
from edge_vit.models.limits import sides_of
from edge_vit.models.names import check_name


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """What the registry knows of one variant.

    Attributes:
        config: The family's config; a frozen dataclass with `num_classes` and `resolution`.
        build: config -> model in its training form.
        remap: (state dict, config) -> state dict in this project's names.
        features: What `features_only` builds.
    """

    name: str
    family: str
    config: Any
    build: Callable[[Any], nn.Module]
    remap: Callable[[dict[str, Tensor], Any], dict[str, Tensor]]
    features: type[FeatureModel] = FeatureModel


_FAMILIES: tuple[tuple[Mapping[str, Any], dict[str, Any]], ...] = (
    (
        levit.LEVIT_VARIANTS,
        {
            "family": "levit",
            "build": levit.LeViT,
            "remap": levit.remap_checkpoint,
            "features": TokenFeatureModel,
        },
    ),
    (
        efficientvit.EFFICIENTVIT_VARIANTS,
        {"family": "efficientvit", "build": efficientvit.EfficientViT, "remap": efficientvit.remap_checkpoint},
    ),
    (
        fastervit.FASTERVIT_VARIANTS,
        {"family": "fastervit", "build": fastervit.FasterViT, "remap": fastervit.remap_checkpoint},
    ),
)


def merge_variants(families: Sequence[tuple[Mapping[str, Any], dict[str, Any]]]) -> dict[str, ModelSpec]:
    """Return one table of all families' variants.

    Raises:
        ValueError: If two share a name.
    """
    merged: dict[str, ModelSpec] = {}
    for variants, known in families:
        for name, config in variants.items():
            if name in merged:
                raise ValueError(f"variant {name!r} is defined twice, in {merged[name].family} and {known['family']}")
            merged[name] = ModelSpec(name=name, config=config, **known)
    return merged


_SPECS: Mapping[str, ModelSpec] = merge_variants(_FAMILIES)


def list_models() -> list[str]:
    """Return the names of all variants, family by family."""
    return list(_SPECS)


def get_spec(name: str) -> ModelSpec:
    """Return what is known of variant `name`.

    Raises:
        ValueError: If there is no such variant; near matches are named.
    """
    check_name(name)
    return _SPECS[name]


def create_model(
    name: str,
    num_classes: int = 1000,
    resolution: int | tuple[int, int] | None = None,
    *,
    features_only: bool = False,
) -> nn.Module:
    """Create variant `name` in its training form with initial weights.

    In eval mode it maps images (B, 3, resolution, resolution) to float logits (B, num_classes).

    Args:
        resolution: Side of the images in pixels, or height and width; None for the variant's own, 224 unless its name
            says otherwise.
        features_only: Leave the head off and return every stage's map; `feature_info` names their channels and strides.

    Raises:
        ValueError: If the name is unknown, or the family does not allow the resolution.
    """
    spec = get_spec(name)
    if resolution is None:
        resolution = spec.config.resolution
    model = spec.build(dataclasses.replace(spec.config, num_classes=num_classes, resolution=resolution))
    if features_only:
        model = spec.features(model)
    model.variant = name  # type: ignore[assignment]
    return model


def image_size(model: nn.Module) -> tuple[int, int]:
    """Return height and width in pixels of the images that `model`, in either form, takes."""
    return sides_of(model.config.resolution)  # type: ignore[arg-type]
