"""What lies in the training folder: two splits of the same classes, listed and compared before torch loads."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from calibration.dataset import ImageSet, SkippedImage, list_class_folders, match_classes, read_class_names


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Pictures to learn from and to judge by.

    Attributes:
        classes: [{"id": folder name, "name": readable name}], in the order of the labels of both.
    """

    train: ImageSet
    val: ImageSet
    classes: list[dict[str, str]]


def list_splits(data: Path) -> Splits:
    """List `data`/train and `data`/val.

    Raises:
        ValueError: If their classes differ, there is but one, or a class has no pictures; the message names it.
    """
    train, val = list_class_folders(data / "train"), list_class_folders(data / "val")
    if train.folders != val.folders:
        raise ValueError(f"the classes of {data / 'train'} and {data / 'val'} differ: {_difference(train, val)}")
    if len(train.folders) < 2:
        raise ValueError(f"{train.root} has one class, {train.folders[0]}; training needs two classes or more")
    for images in (train, val):
        check_no_class_is_empty(images)
    known = read_class_names(data)
    classes = [{"id": folder, "name": known.get(folder, folder)} for folder in train.folders]
    return Splits(train=train, val=val, classes=classes)


def check_no_class_is_empty(images: ImageSet, unreadable: Sequence[SkippedImage] = ()) -> None:
    """Raise ValueError if a class folder has no picture, `unreadable` ones having been taken out."""
    present = set(images.labels)
    for label, folder in enumerate(images.folders):
        if label in present:
            continue
        first = next((image for image in unreadable if images.root / folder in image.path.parents), None)
        what = "no pictures" if first is None else f"no picture that can be read ({first.path.name}: {first.reason})"
        raise ValueError(
            f"{images.root}: class folder {folder} holds {what}; add some, or remove the class from both train and val"
        )


def check_batches(num_images: int, batch_size: int, num_processes: int) -> None:
    """Raise ValueError if the pictures do not fill one batch of each process."""
    if num_images >= batch_size * num_processes:
        return
    largest = num_images // num_processes
    if largest < 2:
        raise ValueError(f"{num_images} training images are too few for {num_processes} processes; add pictures")
    each = f" for each of {num_processes} processes" if num_processes > 1 else ""
    raise ValueError(f"{num_images} training images are fewer than one batch{each}; use --batch-size {largest} or less")


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


def _difference(train: ImageSet, val: ImageSet) -> str:
    parts = []
    for name, ours, theirs in (("train", train, val), ("val", val, train)):
        alone = sorted(set(ours.folders) - set(theirs.folders))
        if alone:
            more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
            parts.append(f"only {name} has {', '.join(alone[:5])}{more}")
    return f"{'; '.join(parts)}; give both the same class folders"
