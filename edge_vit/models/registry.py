"""Every variant by name, and how to make one."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from edge_vit.models import efficientvit, levit


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """What the registry knows of one variant.

    Attributes:
        config: The family's config; a frozen dataclass with `num_classes` and `resolution`.
        build: config -> model in its training form.
        remap: (state dict, config) -> state dict in this project's names.
    """

    name: str
    family: str
    config: Any
    build: Callable[[Any], nn.Module]
    remap: Callable[[dict[str, Tensor], Any], dict[str, Tensor]]


def _merge_variants() -> dict[str, ModelSpec]:
    families: tuple[tuple[str, Mapping[str, Any], Any, Any], ...] = (
        ("levit", levit.LEVIT_VARIANTS, levit.LeViT, levit.remap_checkpoint),
        ("efficientvit", efficientvit.EFFICIENTVIT_VARIANTS, efficientvit.EfficientViT, efficientvit.remap_checkpoint),
    )
    merged: dict[str, ModelSpec] = {}
    for family, variants, build, remap in families:
        for name, config in variants.items():
            if name in merged:
                raise ValueError(f"variant {name!r} is defined twice, in {merged[name].family} and {family}")
            merged[name] = ModelSpec(name=name, family=family, config=config, build=build, remap=remap)
    return merged


_SPECS: Mapping[str, ModelSpec] = _merge_variants()


def list_models() -> list[str]:
    """Return the names of all variants, family by family."""
    return list(_SPECS)


def get_spec(name: str) -> ModelSpec:
    """Return what is known of variant `name`.

    Raises:
        ValueError: If there is no such variant; near matches are named.
    """
    if name not in _SPECS:
        near = difflib.get_close_matches(name, _SPECS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(_SPECS)}"
        raise ValueError(f"unknown model {name!r}; {hint} (`python -m edge_vit.models` lists all)")
    return _SPECS[name]


def create_model(name: str, num_classes: int = 1000, resolution: int | None = None) -> nn.Module:
    """Create variant `name` in its training form with initial weights.

    In eval mode it maps images (B, 3, resolution, resolution) to float logits (B, num_classes).

    Args:
        resolution: Side of the images in pixels; None for the variant's own, 224 unless its name says otherwise.

    Raises:
        ValueError: If the name is unknown, or the family does not allow the resolution.
    """
    spec = get_spec(name)
    config = dataclasses.replace(spec.config, num_classes=num_classes, resolution=resolution or spec.config.resolution)
    model = spec.build(config)
    model.variant = name  # type: ignore[assignment]
    return model


def image_size(model: nn.Module) -> tuple[int, int]:
    """Return height and width in pixels of the images that `model`, in either form, takes."""
    resolution: Any = model.config.resolution  # type: ignore[union-attr]
    return (resolution, resolution) if isinstance(resolution, int) else resolution
