"""Read FlatBuffers without code generated from a schema: tables, and fields by their number in it.

Wild offsets, as in a damaged file, raise struct.error or IndexError.
"""

import struct
from typing import Any


class Table:
    """A table at an offset of a FlatBuffer; an absent field has the default that is given."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data, self._offset = data, offset
        self._vtable = offset - self._unpack("i", offset)
        self._vtable_size = self._unpack("H", self._vtable)

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """Return the table that a FlatBuffer begins with."""
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, field: int, form: str = "i", default: float = 0) -> Any:
        """Return a number; `form` is its letter in Python's struct module."""
        at = self._field(field)
        return default if at is None else self._unpack(form, at)

    def numbers(self, field: int, form: str = "i") -> tuple[Any, ...]:
        """Return a vector of numbers, empty if absent."""
        start, length = self._vector(field)
        self._check(start)
        return struct.unpack_from(f"<{length}{form}", self._data, start)

    def data(self, field: int) -> memoryview:
        """Return a vector of bytes, not copied, empty if absent."""
        start, length = self._vector(field)
        self._check(start, length)
        return memoryview(self._data)[start : start + length]

    def text(self, field: int) -> str:
        """Return a string, empty if absent."""
        return bytes(self.data(field)).decode(errors="replace")

    def table(self, field: int) -> "Table | None":
        """Return a table, or the one that a union holds; None if absent."""
        at = self._field(field)
        return None if at is None else Table(self._data, at + self._unpack("I", at))

    def tables(self, field: int) -> list["Table"]:
        """Return a vector of tables, empty if absent."""
        start, length = self._vector(field)
        offsets = struct.unpack_from(f"<{length}I", self._data, start)
        return [Table(self._data, start + 4 * i + relative) for i, relative in enumerate(offsets)]

    def _field(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry >= self._vtable_size:
            return None
        relative = self._unpack("H", self._vtable + entry)
        return self._offset + relative if relative else None

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._field(field)
        if at is None:
            return 0, 0
        start = at + self._unpack("I", at)
        return start + 4, self._unpack("I", start)

    def _unpack(self, form: str, at: int) -> Any:
        self._check(at)
        return struct.unpack_from(f"<{form}", self._data, at)[0]

    def _check(self, start: int, length: int = 0) -> None:
        if not 0 <= start <= start + length <= len(self._data):  # struct would count from the end
            raise IndexError(f"offset {start} with {length} bytes is outside of {len(self._data)}")
