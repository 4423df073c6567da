"""What a converted file says of its model: name, author, licence, version, classes."""

from collections.abc import Sequence

from converters.card import ModelCard
from converters.manifest import ClassLabel
from edge_vit.models.published import PUBLISHED, is_published
from edge_vit.models.sources import EMBEDDED_PREFIX, WeightsSource

_EMBEDDED = ("edge_vit", "Apache-2.0")
_AUTHORS = {"levit": "Facebook AI Research", "efficientvit": "Microsoft", "fastervit": "NVIDIA"}


def make_card(name: str, precision: str, source: WeightsSource, classes: Sequence[ClassLabel]) -> ModelCard:
    """Describe variant `name` with these weights, whose SHA-256 begins with the version.

    Author and licence are "" where the weights are the user's own.

    Raises:
        ValueError: If a class name is no single line of text.
    """
    author, license_ = "", ""
    if source.label.startswith(EMBEDDED_PREFIX):
        author, license_ = _EMBEDDED
    elif is_published(name, source.label):
        author, license_ = _AUTHORS[name.split("_")[0]], PUBLISHED[name].licence
    return ModelCard(
        name=name,
        description=f"{name}, {precision}, weights: {source.name}",
        version=(source.sha256 or "")[:12],
        author=author,
        license=license_,
        labels=unique_labels(classes),
    )


def unique_labels(classes: Sequence[ClassLabel]) -> tuple[str, ...]:
    """Return the classes' names, where several share one with their ids: "crane (n02012849)"."""
    names = [entry.name for entry in classes]
    return tuple(e.name if names.count(e.name) == 1 else f"{e.name} ({e.id})" for e in classes)
