"""What lies in the training data: pictures to learn from, to choose by and to judge by, listed before torch loads."""

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from calibration.dataset import ImageSet, SkippedImage, list_class_folders, match_classes, read_class_names, split_off
from calibration.lists import WHOLE, read_list
from calibration.paths import is_list

DEFAULT_VAL_SHARE = 0.1
# A smaller class keeps all its pictures to learn from.
LEAST_TO_CHOOSE_BY = 5
UNEVEN = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Pictures to learn from, to choose the epoch by, and to judge by.

    Attributes:
        select: Held back from `train`; may be empty.
        classes: [{"id": folder name, "name": readable name}], in the order of the labels of all three.
        is_drawn: Whether `val` was drawn here, and not given as a folder or a split of a list.
    """

    train: ImageSet
    select: ImageSet
    val: ImageSet
    classes: list[dict[str, str]]
    is_drawn: bool = False


def list_splits(data: Path, *, val_share: float | None = None, select_share: float = 0.0, seed: int = 0) -> Splits:
    """List labelled pictures: `data`/train and `data`/val, one folder with a sub-folder a class, or a list.

    Args:
        val_share: Of one folder, or a list without splits, the share of each class to judge by; None for a tenth.
        select_share: Share of each class to choose the epoch by, taken out of the pictures to learn from.
        seed: Decides which.

    Raises:
        ValueError: If the classes of train and val differ, there is but one, or a class has too few pictures.
    """
    is_listed = is_list(data)
    found = read_list(data) if is_listed else _folders(data)
    is_drawn = WHOLE in found
    if is_drawn:
        found = _drawn(data, found[WHOLE], DEFAULT_VAL_SHARE if val_share is None else val_share, seed)
    elif val_share is not None:
        raise ValueError(f"--val-share divides one folder or list; {data} has pictures to judge by of its own")
    if not {"train", "val"} <= found.keys():
        raise ValueError(f"{data}: its splits are {', '.join(sorted(found))}; training needs train and val")
    train, val = found["train"], found["val"]
    if _classes(train, is_listed) != _classes(val, is_listed):
        places = (f"split {name} of {data}" if is_listed else str(data / name) for name in ("train", "val"))
        raise ValueError(f"the classes of {' and '.join(places)} differ: {_difference(train, val, is_listed)}")
    if len(train.folders) < 2:
        raise ValueError(f"{train.root} has one class, {train.folders[0]}; training needs two classes or more")
    for images in (train, val):
        check_no_class_is_empty(images)
    select = found.get("select")
    if select is None:
        train, select = split_off(train, select_share, seed=seed, purpose="select", least=LEAST_TO_CHOOSE_BY)
    known = read_class_names(data.parent if is_listed else data)
    classes = [{"id": folder, "name": known.get(folder, folder)} for folder in train.folders]
    return Splits(train=train, select=select, val=val, classes=classes, is_drawn=is_drawn)


def _folders(data: Path) -> dict[str, ImageSet]:
    """Return the class folders of `data`/train and `data`/val, or those of `data` as one whole."""
    if not data.is_dir():
        raise ValueError(
            f"{data}: {'neither a folder nor a .csv or .jsonl list' if data.exists() else 'no such folder'}"
        )
    if any((data / name).is_dir() for name in ("train", "val")):
        return {name: list_class_folders(data / name) for name in ("train", "val")}
    return {WHOLE: list_class_folders(data)}


def _drawn(data: Path, whole: ImageSet, share: float, seed: int) -> dict[str, ImageSet]:
    counts = np.bincount(whole.labels, minlength=len(whole.folders))
    lone = [whole.folders[i] for i in np.flatnonzero(counts == 1)]
    if lone and len(whole.folders) > 1:
        raise ValueError(
            f"{data}: class {lone[0]} has one picture; a class needs two, to learn from and to judge by; "
            "add some, or remove the class"
        )
    train, val = split_off(whole, share, seed=seed)
    return {"train": train, "val": val}


def imbalance(splits: Splits) -> str:
    """Return a remark where the largest class has several times the pictures of the smallest, "" elsewhere."""
    shown, counts = np.unique(splits.train.labels, return_counts=True)
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] < UNEVEN * counts[least]:
        return ""
    names = [splits.train.folders[label] for label in shown]
    return (
        f"classes are uneven: {names[most]} has {counts[most]} pictures to learn from, {names[least]} {counts[least]}; "
        "--balanced draws from each as often"
    )


def check_no_class_is_empty(
    images: ImageSet, unreadable: Sequence[SkippedImage] = (), shown: Collection[int] | None = None
) -> None:
    """Raise ValueError if a class has no picture.

    Args:
        unreadable: Pictures that were taken out.
        shown: The labels that there were with these; None for all.
    """
    present = set(images.labels)
    for label, folder in enumerate(images.folders):
        if label in present or (shown is not None and label not in shown):
            continue
        first = next((image for image in unreadable if images.root / folder in image.path.parents), None)
        what = "no pictures" if first is None else f"no picture that can be read ({first.path.name}: {first.reason})"
        raise ValueError(
            f"{images.root}: class folder {folder} holds {what}; add some, or remove the class from both train and val"
        )


def among(splits: Splits, classes: Sequence[dict[str, str]], label: str) -> Splits:
    """Return the same pictures as some of the many classes that a network knows.

    Args:
        classes: The network's; folders are matched to them by id, then by name.
        label: What to call the network.

    Raises:
        ValueError: If a folder is none of its classes.
    """
    names = {entry["id"]: entry["name"] for entry in splits.classes}
    try:
        places = match_classes(splits.train.folders, [SimpleNamespace(**entry) for entry in classes], names)
    except ValueError as e:
        reason = str(e).replace("the artefact", "it")
        raise ValueError(
            f"{label} gives {len(classes)} logits, but there are {len(names)} classes, and they are none of its: "
            f"{reason}; let the function take num_classes, or name the folders by its classes"
        ) from e
    folders = tuple(entry["id"] for entry in classes)
    parts: dict[str, Any] = {
        name: replace(images, labels=tuple(places[label] for label in images.labels), folders=folders)
        for name, images in (("train", splits.train), ("select", splits.select), ("val", splits.val))
    }
    return replace(splits, classes=list(classes), **parts)


def fitting_batch(num_images: int, batch_size: int, num_processes: int) -> int:
    """Return the batch size of a process: `batch_size`, or fewer where the pictures do not fill one of each process.

    Raises:
        ValueError: If they do not suffice for two pictures a batch.
    """
    largest = num_images // num_processes
    if largest < 2:
        each = f" for {num_processes} processes" if num_processes > 1 else ""
        raise ValueError(f"{num_images} training images are too few{each}; add pictures")
    return min(batch_size, largest)


def check_same_classes(splits: Splits, classes: Sequence[dict[str, str]], label: str) -> None:
    """Check that a checkpoint's classes are the data's, in the same order.

    Args:
        classes: As the checkpoint lists them.
        label: What to call the checkpoint.

    Raises:
        ValueError: If they are not; the message names the first that differ.
    """
    folders, names = splits.train.folders, {entry["id"]: entry["name"] for entry in splits.classes}
    hint = "train the float model on this data first"
    if len(classes) != len(folders):
        raise ValueError(f"{label} has {len(classes)} classes, {splits.train.root} has {len(folders)}; {hint}")
    try:
        order = match_classes(folders, [SimpleNamespace(**entry) for entry in classes], names)
    except ValueError as e:
        reason = str(e).replace("the artefact", "the checkpoint")
        raise ValueError(f"{label} was trained for other classes than {splits.train.root}: {reason}; {hint}") from e
    if order != tuple(range(len(folders))):
        raise ValueError(f"{label} has the classes of {splits.train.root} in another order; name folders by class id")


def fingerprint(splits: Splits) -> dict[str, str]:
    """Return what must be equal for a training to go on with the same data: class names, picture names and sizes."""
    classes = ", ".join(f"{entry['id']}: {entry['name']}" for entry in splits.classes)
    return {
        "classes": f"{len(splits.classes)} {_digest([classes])}",
        "train": f"{len(splits.train)} pictures {_digest(_lines(splits.train))}",
        "select": f"{len(splits.select)} pictures {_digest(_lines(splits.select))}",
        "val": f"{len(splits.val)} pictures {_digest(_lines(splits.val))}",
    }


def without(images: ImageSet, unreadable: Iterable[int]) -> ImageSet:
    """Return the pictures but those of some indices."""
    dropped = set(unreadable)
    if not dropped:
        return replace(images)
    return images.take(index for index in range(len(images)) if index not in dropped)


def _lines(images: ImageSet) -> Iterable[str]:
    for name, path in zip(images.paths.names(), images.paths, strict=True):
        size = os.stat(path).st_size if path.exists() else -1  # a link that leads nowhere
        yield f"{size} {name}"


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()[:16]


def _classes(images: ImageSet, is_listed: bool) -> set[str]:
    """Return the classes of a split; of a list, whose splits share their names, those that it has pictures of."""
    return {images.folders[label] for label in images.labels} if is_listed else set(images.folders)


def _difference(train: ImageSet, val: ImageSet, is_listed: bool) -> str:
    parts = []
    for name, ours, theirs in (("train", train, val), ("val", val, train)):
        alone = sorted(_classes(ours, is_listed) - _classes(theirs, is_listed))
        if alone:
            more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
            parts.append(f"only {name} has {', '.join(alone[:5])}{more}")
    return f"{'; '.join(parts)}; give both the same classes"
