"""What every converter returns, and the errors and file handling they share."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """One written artefact.

    Attributes:
        precision: "fp32", "fp16" or "int8".
        input_shape: As the artefact takes it.
        delegated_nodes: Operators, or calls, that the target's fast path takes; None where the target has no delegate.
        total_nodes: All operators.
        tool_versions: Packages that made the file.
        details: What only this target knows, for its own summary.
    """

    target: str
    path: Path
    num_bytes: int
    sha256: str
    precision: str
    input_shape: tuple[int, ...]
    delegated_nodes: int | None
    total_nodes: int
    tool_versions: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)


# Staging folders that are in use, so that a program that must end at once can leave nothing behind.
_open_folders: set[Path] = set()


@contextmanager
def staging(folder: Path, prefix: str, advice: str = "choose another --output-dir") -> Iterator[Path]:
    """Give a new folder inside `folder` that is gone afterwards, whatever happens, as are folders made for it in vain.

    An OSError that says that something cannot be written there becomes a ValueError; every other one stays what it is.

    Raises:
        ValueError: If `folder` cannot be made or written, or is full; the message says what to do.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inner = Path(tempfile.mkdtemp(dir=folder, prefix=prefix))
    except OSError as e:
        _remove_empty(made)
        raise ValueError(f"cannot write to {folder}: {e.strerror}; {advice}") from e
    _open_folders.add(inner)
    try:
        yield inner
    except OSError as e:
        if not _is_about_writing(e, inner):
            raise
        where = e.filename or folder
        raise ValueError(f"cannot write {where}: {e.strerror or e}; free space or {advice}; nothing was kept") from e
    finally:
        shutil.rmtree(inner, ignore_errors=True)
        _open_folders.discard(inner)
        _remove_empty(made)


def publish_all(moves: Sequence[tuple[Path | None, Path]]) -> None:
    """Move finished files and folders to their places, all or none.

    Args:
        moves: What to move, on the file system of its place, and the place. What is there gives way to its own kind, a
            file or a folder; where nothing is moved, None, it is removed.

    Raises:
        ValueError: If one cannot be moved; everything is as it was then.
    """
    done: list[tuple[Path, Path | None]] = []
    try:
        for source, place in moves:
            if source is not None and os.path.lexists(place) and place.is_dir() != source.is_dir():
                kinds = ("a folder", "a file") if place.is_dir() else ("a file", "a folder")
                raise ValueError(f"{place} is {kinds[0]}, where {kinds[1]} is to be written; move it away")
            done.append((place, _set_aside(place)))
            if source is not None:
                os.replace(source, place)
    except BaseException as e:
        for place, aside in reversed(done):
            _put_back(place, aside)
        if isinstance(e, OSError):
            raise ValueError(f"cannot write {e.filename2 or e.filename}: {e.strerror}; nothing was changed") from e
        raise
    for _, aside in done:
        if aside is not None:
            shutil.rmtree(aside.parent, ignore_errors=True)


def remove_staging() -> None:
    """Remove every staging folder in use; for a program that ends without unwinding."""
    for folder in list(_open_folders):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, a file's or a folder's, and rename it when the block ends without error.

    Raises:
        ValueError: If the folder cannot be made or written.
    """
    with staging(path.parent, f".{path.name}.") as folder:
        temporary = folder / path.name
        yield temporary
        publish_all([(temporary, path)])


def _is_about_writing(error: OSError, folder: Path) -> bool:
    """Tell whether there was no room, or something in `folder` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    names = [name for name in (error.filename, error.filename2) if isinstance(name, (str, bytes, os.PathLike))]
    return any(Path(os.fsdecode(name)).is_relative_to(folder) for name in names)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders that hold nothing, the deepest first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _set_aside(place: Path) -> Path | None:
    """Keep what is at `place` under another name beside it; None where nothing is."""
    if not os.path.lexists(place):
        return None
    aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.before-")) / place.name
    try:
        os.replace(place, aside)
    except OSError:
        aside.parent.rmdir()
        raise
    return aside


def _put_back(place: Path, aside: Path | None) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    elif os.path.lexists(place):
        place.unlink()
    if aside is not None:
        os.replace(aside, place)
        aside.parent.rmdir()
