"""Many paths below one folder in the memory that their text takes, and what tells a list of them from a folder."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

LIST_SUFFIXES = (".csv", ".jsonl")


def is_list(source: Path) -> bool:
    """Tell whether a path names a list of pictures and not a folder."""
    return source.suffix.lower() in LIST_SUFFIXES and not source.is_dir()


class PathList(Sequence[Path]):
    """Paths below `root`, each made when it is asked for.

    The names lie in one buffer. A million `Path`s would take half a gigabyte, and again as much in every process that
    reads them, because touching a Python object copies the page that it lies on.

    Args:
        root: The folder.
        names: Paths below it, with `/` between their parts.
    """

    __slots__ = ("_ends", "_text", "root")

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        text, ends = bytearray(), array("q")
        for name in names:
            text += os.fsencode(name)
            ends.append(len(text))
        self._text, self._ends = bytes(text), ends

    def name(self, index: int) -> str:
        """Return a path below the root, as it was given."""
        if not 0 <= index < len(self):
            raise IndexError(f"path {index} of {len(self)}")
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._text[start : self._ends[index]])

    def names(self) -> Iterator[str]:
        """Yield all paths below the root."""
        return (self.name(index) for index in range(len(self)))

    def take(self, indices: Iterable[int]) -> "PathList":
        """Return some of the paths, in the order of `indices`."""
        return PathList(self.root, (self.name(int(index)) for index in indices))

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "PathList": ...

    def __getitem__(self, index: int | slice) -> "Path | PathList":
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        return self.root / self.name(range(len(self))[index])

    def __len__(self) -> int:
        return len(self._ends)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((self.root, self._text))
