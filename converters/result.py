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


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, a file's or a folder's, and rename it when the block ends without error.

    Raises:
        ValueError: If the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as e:
        raise ValueError(f"cannot write to {path.parent}: {e.strerror}; choose another --output-dir") from e
    try:
        temporary = folder / path.name
        yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as e:
        raise ValueError(f"cannot write {path}: {e.strerror}; free space or choose another --output-dir") from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)
