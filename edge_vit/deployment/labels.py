"""Class names that a user gives: a name a line, or JSON. Reading them needs no torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.first_line import first_line
from converters.manifest import ClassLabel


def read_labels(path: Path) -> tuple[ClassLabel, ...]:
    """Read a file of names in the order of the classes: a name a line, or in JSON a list or a dict.

    A list holds names, or objects with `id` and `name`; a dict maps ids to names or to objects with a `name`, as
    classes.json does. A name without an id is its own.

    Raises:
        ValueError: If the file cannot be read, or an id is empty or stands twice; the message says what to do.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as e:
        why = "no such file" if isinstance(e, FileNotFoundError) else getattr(e, "strerror", None) or "not UTF-8"
        raise ValueError(f"{path}: cannot be read ({why}); give a text file of names, one a line, or JSON") from e
    labels = _from_json(path, text) if path.suffix == ".json" else _from_lines(text)
    if not labels:
        raise ValueError(f"{path}: holds no names; give one a line, in the order of the classes")
    ids = [label.id for label in labels]
    for i, label in enumerate(labels):
        if not label.name.strip() or label.name.splitlines() != [label.name]:
            raise ValueError(f"{path}: name {i + 1} of {len(labels)} is {label.name!r}; a name is one line of text")
        if ids.index(label.id) != i:
            raise ValueError(f"{path}: {label.id!r} stands twice; make the names unique, or give ids in JSON")
    return tuple(labels)


def check_count(labels: Sequence[ClassLabel], classes: int, path: Path) -> None:
    """Raise ValueError if there are not as many names as classes."""
    if len(labels) != classes:
        raise ValueError(f"{path} has {len(labels)} names, the weights have {classes} classes; give one name a class")


def name_classes(classes: Sequence[Mapping[str, str]], labels: Sequence[ClassLabel]) -> list[dict[str, str]]:
    """Give classes their new names: by id where all ids are known, else in order; a name without an id keeps the old.

    Args:
        classes: [{"id": ..., "name": ...}] of the weights, as many as there are labels.
    """
    by_id = {label.id: label.name for label in labels}
    if set(by_id) == {entry["id"] for entry in classes}:
        return [{"id": entry["id"], "name": by_id[entry["id"]]} for entry in classes]
    pairs = zip(classes, labels, strict=True)
    return [{"id": old["id"] if new.id == new.name else new.id, "name": new.name} for old, new in pairs]


def _from_lines(text: str) -> list[ClassLabel]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    return [ClassLabel(id=line, name=line) for line in lines]


def _from_json(path: Path, text: str) -> list[ClassLabel]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{path}: not valid JSON ({first_line(e)})") from e
    entries: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        entries = [(key, value.get("name") if isinstance(value, dict) else value) for key, value in data.items()]
    elif isinstance(data, list):
        entries = [(e.get("id"), e.get("name")) if isinstance(e, dict) else (e, e) for e in data]
    for entry in entries:
        if not all(isinstance(part, str) for part in entry):
            raise ValueError(f'{path}: {entry} is no name; give ["NAME", ...] or {{"ID": "NAME", ...}}')
    return [ClassLabel(id=key, name=name) for key, name in entries]
