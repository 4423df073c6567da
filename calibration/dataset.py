"""Folders of pictures: what lies in them, a fair and repeatable subset, and batches with nothing lost silently."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from calibration.paths import PathList
from calibration.preprocess import Preprocess, load_pixels

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".bmp", ".dib", ".gif", ".tif", ".tiff",
        ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga",
    }
)  # fmt: skip
UNLABELLED = -1
CLASSES_FILE = "classes.json"

T = TypeVar("T")


class Labelled(Protocol):
    """A class of an artefact, as its manifest lists them."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Pictures and, where the folder has classes, their labels.

    `labels[i]` indexes `folders`; it is `UNLABELLED` for every picture of a flat folder, whose `folders` is empty.
    """

    paths: PathList
    labels: tuple[int, ...]
    folders: tuple[str, ...]

    @property
    def root(self) -> Path:
        """The folder that was listed."""
        return self.paths.root

    def __len__(self) -> int:
        return len(self.paths)

    def relabel(self, indices: Sequence[int]) -> "ImageSet":
        """Replace label i by `indices[i]`, as `match_classes` returns them; `folders` then no longer names labels."""
        labels = tuple(indices[label] for label in self.labels)
        return ImageSet(paths=self.paths, labels=labels, folders=())

    def take(self, indices: Iterable[int]) -> "ImageSet":
        """Return some of the pictures, in the order of `indices`."""
        chosen = [int(index) for index in indices]
        labels = tuple(self.labels[index] for index in chosen)
        return ImageSet(paths=self.paths.take(chosen), labels=labels, folders=self.folders)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedImage:
    """A picture that could not be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Pixels (B, H, W, 3) uint8, labels (B,) int64, and where they came from."""

    pixels: np.ndarray
    labels: np.ndarray
    paths: tuple[Path, ...]


def list_class_folders(root: str | Path) -> ImageSet:
    """List an image folder with one sub-folder a class; classes in the order of their sorted names."""
    root = _existing(root)
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if {"train", "val"} & set(folders):
        inner = root / ("val" if "val" in folders else "train")
        raise ValueError(f"{root}: holds train and val, not classes; give one of them, such as {inner}")
    check_names_differ(folders, f"{root}: class folders")
    if not folders:
        raise ValueError(f"{root}: no class folders; lay the pictures out as {root / 'CLASS' / 'picture.jpg'}")
    labels: list[int] = []

    def names() -> Iterator[str]:
        for label, folder in enumerate(folders):
            for name in _pictures(root / folder, f"{folder}/"):
                labels.append(label)
                yield name

    paths = PathList(root, names())
    if not paths:
        raise ValueError(f"{root}: no pictures in its {len(folders)} class folders; known are {_suffixes()}")
    return ImageSet(paths=paths, labels=tuple(labels), folders=tuple(folders))


def check_names_differ(names: Sequence[str], what: str) -> None:
    """Raise ValueError if two classes differ in case alone: some systems take them for one."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(f"{what} {other} and {name} differ in case alone; merge them, or rename one")


def list_images(root: str | Path) -> ImageSet:
    """List pictures for calibration: a flat folder of them, or one with class folders."""
    root = _existing(root)
    paths = PathList(root, (name for name, is_folder in _entries(root) if not is_folder))
    if paths:
        return ImageSet(paths=paths, labels=(UNLABELLED,) * len(paths), folders=())
    if not any(entry.is_dir() for entry in root.iterdir()):
        raise ValueError(f"{root}: no pictures; known are {_suffixes()}")
    return list_class_folders(root)


def choose(images: ImageSet, count: int | None, *, seed: int = 0) -> ImageSet:
    """Take `count` pictures, as many of each class as possible, the same ones on every machine.

    Each picture has a place in its class by the hash of the seed and its path below `root`, and classes take turns. So
    a larger choice contains the smaller one, and adding a picture to the folder leaves the others' order as it is.

    Args:
        images: What to choose from.
        count: How many; None or more than there are takes all.
        seed: Another seed, another choice.
    """
    if count is not None and count < 1:
        raise ValueError(f"{count} pictures are not allowed; choose 1 or more")
    shuffled, turns = _turns(images, str(seed))
    return images.take(shuffled[np.lexsort((np.asarray(images.labels)[shuffled], turns))][:count])


def split_off(
    images: ImageSet, share: float, *, seed: int, purpose: str = "val", least: int = 2
) -> tuple[ImageSet, ImageSet]:
    """Take a share of each class out of a set, the same pictures on every machine.

    Args:
        images: What to split; its order stays.
        share: Of a class with n pictures round(share * n) are taken, and never all.
        seed: Another seed, another split; another `purpose` likewise.
        least: A class with so many pictures gives at least one.

    Returns:
        The pictures that stay, and those taken.
    """
    if share == 0.0:
        return images, images.take(())
    counts = np.bincount(np.asarray(images.labels, np.int64), minlength=len(images.folders))
    wanted = np.maximum(np.round(share * counts), counts >= least)
    wanted = np.minimum(wanted, np.maximum(counts - 1, 0))
    shuffled, turns = _turns(images, f"{purpose}:{seed}")
    is_taken = np.zeros(len(images), bool)
    is_taken[shuffled[turns < wanted[np.asarray(images.labels)[shuffled]]]] = True
    return images.take(np.flatnonzero(~is_taken)), images.take(np.flatnonzero(is_taken))


def _turns(images: ImageSet, seed: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all indices in an order that hashes of the seed and the paths below `root` decide, and each one's place
    among those of its class."""

    def place(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:".encode() + os.fsencode(name)).digest()

    digests = np.frombuffer(b"".join(map(place, images.paths.names())), ">u8").reshape(-1, 4)
    shuffled = np.lexsort(digests.T[::-1])
    labels = np.asarray(images.labels)[shuffled]
    by_label = np.argsort(labels, kind="stable")
    turns = np.empty(len(images), np.int64)
    turns[by_label] = np.arange(len(images)) - np.searchsorted(labels[by_label], labels[by_label])
    return shuffled, turns


def read_pictures(
    images: ImageSet, read: Callable[[Path], T], *, threads: int = 2, ahead: int = 32
) -> Iterator[tuple[int, "T | SkippedImage"]]:
    """Read pictures in parallel threads (Pillow decodes outside the interpreter lock) and yield them in order.

    Args:
        images: What to read.
        read: Path -> picture in any form; raises ValueError where it cannot be read.
        threads: How many at a time.
        ahead: How many results may wait in memory.

    Yields:
        Each picture's index, and what `read` made of it or why it could not be read.
    """
    waiting: deque[tuple[int, Path, Future[T]]] = deque()

    def settle() -> tuple[int, T | SkippedImage]:
        index, path, future = waiting.popleft()
        try:
            return index, future.result()
        except ValueError as e:
            return index, SkippedImage(path=path, reason=str(e).removeprefix(f"{path}: "))

    with ThreadPoolExecutor(threads) as pool:
        for index, path in enumerate(images.paths):
            waiting.append((index, path, pool.submit(read, path)))
            if len(waiting) > ahead:
                yield settle()
        while waiting:
            yield settle()


class BatchLoader:
    """Read pictures in parallel threads and yield them in order, as batches of pixels.

    A picture that cannot be read is left out and listed in `skipped`, which is complete once the loop ends.
    Each loop starts anew.
    """

    def __init__(self, images: ImageSet, preprocess: Preprocess, *, batch_size: int = 32, threads: int = 2) -> None:
        for name, value in (("batch_size", batch_size), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} {value} is not allowed; use 1 or more")
        self.images, self.preprocess = images, preprocess
        self.batch_size, self.threads = batch_size, threads
        self.skipped: list[SkippedImage] = []

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of good pictures.

        Raises:
            ValueError: If no picture at all can be read.
        """
        self.skipped = []
        good: list[tuple[np.ndarray, int, Path]] = []
        is_empty = True

        def read(path: Path) -> np.ndarray:
            return load_pixels(path, self.preprocess)

        for index, pixels in read_pictures(self.images, read, threads=self.threads, ahead=self.batch_size):
            if isinstance(pixels, SkippedImage):
                self.skipped.append(pixels)
                continue
            good.append((pixels, self.images.labels[index], self.images.paths[index]))
            if len(good) == self.batch_size:
                is_empty = False
                yield _stack(good)
                good = []
        if good:
            yield _stack(good)
        elif is_empty:
            raise ValueError(f"{self.images.root}: none of {len(self.images)} pictures can be read; {self._first()}")

    def _first(self) -> str:
        return f"the first: {self.skipped[0].path.name}: {self.skipped[0].reason}"


def skipped_lines(skipped: Sequence[SkippedImage], *, most: int = 5) -> list[str]:
    """Return the warning that commands print to stderr: one line, and the first few pictures by name."""
    if not skipped:
        return []
    lines = [f"warning: skipped {len(skipped)} unreadable picture{'s' if len(skipped) > 1 else ''}"]
    lines += [f"  {image.path}: {image.reason}" for image in skipped[:most]]
    return lines + ([f"  and {len(skipped) - most} more"] if len(skipped) > most else [])


def read_class_names(root: str | Path) -> dict[str, str]:
    """Return folder name -> readable name from classes.json in `root` or beside it; empty where there is none.

    The file maps each folder name to a text or to an object with a `name`.
    """
    root = Path(root)
    path = next((p for p in (root / CLASSES_FILE, root.parent / CLASSES_FILE) if p.is_file()), None)
    if path is None:
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))  # Notepad puts a byte-order mark first
    except (ValueError, RecursionError) as e:  # UnicodeDecodeError and JSONDecodeError are both ValueErrors.
        raise ValueError(f"{path}: not valid JSON ({e})") from e
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: must map folder names to names")
    names = {}
    for key, value in entries.items():
        name = value.get("name") if isinstance(value, dict) else value
        if not isinstance(name, str) or not name:
            raise ValueError(f'{path}: \'{key}\' has no name; write {{"{key}": {{"name": "..."}}}}')
        names[key] = name
    return names


def match_classes(folders: Sequence[str], classes: Sequence[Labelled], names: Mapping[str, str]) -> tuple[int, ...]:
    """Find each folder's class: by id, else by name, else by the name that classes.json gives the folder.

    Where the whole name matches none, each part of "tench, Tinca tinca" is a name too.

    Args:
        folders: Class folders of the data; they may be a subset of the classes.
        classes: Classes of the artefact, in the order of its logits.
        names: Readable names by folder, see `read_class_names`.

    Returns:
        Index into `classes` for each folder.

    Raises:
        ValueError: If a folder matches no class or several, or two folders match one class; all are named.
    """
    by_id = {label.id: index for index, label in enumerate(classes)}
    by_name: dict[str, list[int]] = {}
    for index, label in enumerate(classes):
        by_name.setdefault(_plain(label.name), []).append(index)
    by_part: dict[str, list[int]] = {}
    for index, label in enumerate(classes):
        for part in {_plain(part) for part in label.name.split(",")}:
            by_part.setdefault(part, []).append(index)
    indices, unmatched, ambiguous = [], [], []
    for folder in folders:
        wanted = [by_id[folder]] if folder in by_id else []
        for named in (by_name, by_part):
            for name in (folder, names.get(folder, "")):
                wanted = wanted or (named.get(_plain(name), []) if name else [])
        indices.append(wanted[0] if wanted else UNLABELLED)
        if not wanted:
            unmatched.append(folder)
        elif len(wanted) > 1:
            ambiguous.append(folder)
    if unmatched:
        known = ", ".join(f"{label.id} ({label.name})" for label in classes[:4])
        raise ValueError(f"no class for {_some(unmatched)}; the artefact has {len(classes)} classes: {known}, ...")
    if ambiguous:
        raise ValueError(f"several classes share the name of {_some(ambiguous)}; name the folders by class id")
    twice = [folder for folder, index in zip(folders, indices, strict=True) if indices.count(index) > 1]
    if twice:
        raise ValueError(f"{_some(twice)} match one class; merge the folders or rename them by class id")
    return tuple(indices)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"folder{'s' if len(names) > 1 else ''} {', '.join(names[:most])}{more}"


def _stack(items: list[tuple[np.ndarray, int, Path]]) -> Batch:
    pixels, labels, paths = zip(*items, strict=True)
    return Batch(np.stack(pixels), np.asarray(labels, np.int64), paths)


def _existing(root: str | Path) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    return root


def _pictures(folder: Path, below: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Yield the pictures of a folder and its sub-folders, in the order of their names, with `below` before each."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link that leads back up
        return
    for name, is_folder in _entries(folder):
        if is_folder:
            yield from _pictures(folder / name, f"{below}{name}/", above | {here})
        else:
            yield below + name


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Return a folder's pictures and sub-folders by name, links followed; True for a sub-folder.

    A link that leads nowhere counts as a picture, so that it is reported as one that cannot be read.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                found.append((entry.name, True))
            elif (
                os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
                and not entry.name.startswith(".")
                and (entry.is_file() or entry.is_symlink())
            ):
                found.append((entry.name, False))
    return sorted(found)


def _suffixes() -> str:
    return " ".join(sorted(IMAGE_SUFFIXES))
