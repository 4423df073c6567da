"""Tables are read by the numbers of their fields, and wild offsets are noticed."""

import struct

import pytest

from converters.flatbuffer import Table

# vtable: 12 bytes, table of 20 bytes, fields 0 (int32), 1 (absent), 2 (string), 3 (vector of int16).
VTABLE = struct.pack("<6H", 12, 20, 4, 0, 8, 12)
TABLE = struct.pack("<iiII", 12, -7, 8, 12)
BODY = VTABLE + TABLE
TEXT = struct.pack("<I", 3) + b"abc\0"
NUMBERS = struct.pack("<I3h", 3, 1, -2, 3)
DATA = struct.pack("<I", 4 + len(VTABLE)) + BODY + TEXT + NUMBERS


def test_fields_are_found_by_number() -> None:
    table = Table.root(DATA)
    assert table.number(0) == -7 and table.text(2) == "abc" and table.numbers(3, "h") == (1, -2, 3)
    assert bytes(table.data(2)) == b"abc"


def test_absent_fields_have_their_default() -> None:
    table = Table.root(DATA)
    for field in (1, 4, 99):
        assert table.number(field, default=5) == 5 and table.numbers(field) == () and table.text(field) == ""
        assert table.table(field) is None and table.tables(field) == [] and bytes(table.data(field)) == b""


@pytest.mark.parametrize("end", range(len(DATA)))
def test_cut_ends_are_noticed(end: int) -> None:
    with pytest.raises((struct.error, IndexError)):
        table = Table.root(DATA[:end])
        assert (table.number(0), table.text(2), table.numbers(3, "h")) is None


def test_offsets_before_the_beginning_are_noticed() -> None:
    """Python counts them from the end, which gives values that are not there."""
    wild = DATA[: 4 + len(VTABLE)] + struct.pack("<i", 2**20) + DATA[8 + len(VTABLE) :]
    with pytest.raises(IndexError, match="is outside of"):
        Table.root(wild)
