"""What reads a file of a format, found by the file's suffix and imported when it is needed."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def reader_of(readers: Mapping[str, str], path: Path, what: str) -> Callable[[Path], Any]:
    """Return the reader for a file.

    Args:
        readers: Suffix -> "module:function".
        what: What it reads, for the message.

    Raises:
        ValueError: If no reader knows the suffix.
    """
    if path.suffix not in readers:
        raise ValueError(f"{path}: no reader of {what} for '{path.suffix}'; known are {', '.join(readers)}")
    module, function = readers[path.suffix].split(":")
    found: Callable[[Path], Any] = getattr(importlib.import_module(module), function)
    return found
