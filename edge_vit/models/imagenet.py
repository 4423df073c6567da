"""The thousand classes of ImageNet-1k, whose names published checkpoints do not hold. Reading them needs no torch."""

import functools
from collections.abc import Sequence
from pathlib import Path

NUM_CLASSES = 1000
_TABLE = Path(__file__).with_name("imagenet.tsv")
_ENOUGH = 900  # of the names; lists differ in spelling and in a few words


def imagenet_classes() -> list[dict[str, str]]:
    """Return [{"id": synset, "name": its first word in WordNet}] in the order of the outputs."""
    return [{"id": key, "name": name} for key, name in _table()]


def is_imagenet(labels: Sequence[str]) -> bool:
    """Return whether labels, as "tench, Tinca tinca" or "n01440764", name ImageNet's classes in its order."""
    if len(labels) != NUM_CLASSES:
        return False
    pairs = zip(labels, _table(), strict=True)
    return sum(_plain(label) in (key, _plain(name)) for label, (key, name) in pairs) >= _ENOUGH


def _plain(name: str) -> str:
    return name.split(",")[0].replace("_", " ").strip().casefold()


@functools.cache
def _table() -> tuple[tuple[str, str], ...]:
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if not line.startswith("#"))
    return tuple((key, name) for key, name in pairs)
