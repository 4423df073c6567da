"""Pictures and their labels as a list, .csv or .jsonl, in place of folders."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from calibration.dataset import ImageSet, check_names_differ, list_class_folders
from calibration.paths import PathList, is_list

WHOLE = ""  # the split of a list that names none


def list_labelled(source: str | Path, split: str = "val") -> ImageSet:
    """List labelled pictures: a folder with one sub-folder a class, or a list.

    Args:
        split: Of a list that names splits, the one to take.

    Raises:
        ValueError: If there is none, or it names pictures that are not there; the message says what is wrong.
    """
    source = Path(source)
    if not is_list(source):
        return list_class_folders(source)
    splits = read_list(source)
    if WHOLE not in splits and split not in splits:
        raise ValueError(f"{source}: has no pictures of split {split!r}; its splits are {', '.join(sorted(splits))}")
    return splits[WHOLE] if WHOLE in splits else splits[split]


def read_list(source: Path) -> dict[str, ImageSet]:
    """Return the pictures of each split; labels index the same sorted class names in all of them.

    A .csv has a header with `path`, `label` and perhaps `split`; a .jsonl one object a line with the same names. Paths
    that are not absolute start from the list's folder.

    Raises:
        ValueError: If the list cannot be read, lacks a column, a label or a picture.
    """
    if not source.is_file():
        raise ValueError(f"{source}: no such list of pictures")
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_jsonl(source, file) if source.suffix.lower() == ".jsonl" else _csv(source, file))
    except (UnicodeDecodeError, csv.Error, OSError) as e:
        raise ValueError(f"{source}: cannot be read as a list ({e}); write it as UTF-8 text") from e
    if not rows:
        raise ValueError(f"{source}: lists no pictures; write one line each with path and label")
    _check_there(source, [path for path, _, _ in rows])
    folders = tuple(sorted({label for _, label, _ in rows}))
    check_names_differ(folders, f"{source}: labels")
    names = {split for _, _, split in rows}
    if WHOLE in names and len(names) > 1:
        raise ValueError(f"{source}: some lines name a split and some do not; fill the column or remove it")
    indices = {label: index for index, label in enumerate(folders)}
    return {
        name: ImageSet(
            paths=PathList(source.parent, (path for path, _, split in rows if split == name)),
            labels=tuple(indices[label] for _, label, split in rows if split == name),
            folders=folders,
        )
        for name in names
    }


def write_list(path: Path, splits: Mapping[str, ImageSet]) -> None:
    """Write pictures as a list that `read_list` reads, with absolute paths."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "split"))
        for split, images in splits.items():
            for picture, label in zip(images.paths, images.labels, strict=True):
                writer.writerow((picture.absolute(), images.folders[label], split))


def _csv(source: Path, file: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    lines = iter(file)
    header = next(lines, "")
    delimiter = max(",;\t", key=header.count)
    columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if not {"path", "label"} <= set(columns):
        raise ValueError(f"{source}: its first line is {header.strip()[:60]!r}; name the columns path,label")
    for number, values in enumerate(csv.reader(lines, delimiter=delimiter), 2):
        if values:
            yield _row(source, number, dict(zip(columns, values, strict=False)))


def _jsonl(source: Path, file: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise ValueError(f"{source} line {number}: not valid JSON ({e})") from e
        if not isinstance(record, dict):
            raise ValueError(f'{source} line {number}: must be an object such as {{"path": "a.jpg", "label": "cat"}}')
        yield _row(source, number, record)


def _row(source: Path, number: int, record: Mapping[str, Any]) -> tuple[str, str, str]:
    values = [str(record.get(key) if record.get(key) is not None else "").strip() for key in ("path", "label", "split")]
    for key, value in zip(("path", "label"), values, strict=False):
        if not value:
            raise ValueError(f"{source} line {number}: has no {key}")
    return values[0], values[1], values[2]


def _check_there(source: Path, paths: list[str]) -> None:
    missing = [path for path in paths if not (source.parent / path).is_file()]
    if missing:
        more = ", ..." if len(missing) > 3 else ""
        raise ValueError(
            f"{source}: {len(missing)} of {len(paths)} pictures do not exist ({', '.join(missing[:3])}{more}); "
            f"write paths as seen from {source.parent}"
        )
