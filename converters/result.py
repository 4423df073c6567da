"""What every converter returns, and the errors and file handling they share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
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
def staging(folder: Path, prefix: str) -> Iterator[Path]:
    """Give a new folder inside `folder` that is gone afterwards, whatever happens.

    Raises:
        ValueError: If `folder` cannot be made or written, or is full; the message says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inner = Path(tempfile.mkdtemp(dir=folder, prefix=prefix))
    except OSError as e:
        raise ValueError(f"cannot write to {folder}: {e.strerror}; choose another --output-dir") from e
    _open_folders.add(inner)
    try:
        yield inner
    except OSError as e:
        where = e.filename or folder
        hint = "free space or choose another --output-dir; nothing was kept"
        raise ValueError(f"cannot write {where}: {e.strerror or e}; {hint}") from e
    finally:
        shutil.rmtree(inner, ignore_errors=True)
        _open_folders.discard(inner)


def publish(source: Path, target: Path) -> None:
    """Move a finished file or folder to its place; a folder there gives way."""
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)


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
        publish(temporary, path)
