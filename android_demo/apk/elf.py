"""Read what a shared library needs: so much of ELF64 that one can tell whether Android could link it.

After the System V ABI, chapters 4 and 5.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

AARCH64 = 183
_LOAD = 1
_NEEDED = 1
_WEAK = 2
_DYNAMIC_SECTION, _DYNSYM_SECTION = 6, 11
# GNU extensions, by the Linux Standard Base, symbol versioning.
_VERNEED_SECTION, _VERSYM_SECTION = 0x6FFFFFFE, 0x6FFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A shared library. `wanted` are the symbols that must come from elsewhere, with their versions ("" for none)."""

    name: str
    machine: int
    needed: tuple[str, ...]
    wanted: dict[str, str]
    offered: frozenset[str]
    page_size: int
    text: bytes


def read(path: Path) -> Library:
    """Read a 64-bit little-endian shared library.

    Raises:
        ValueError: If it is none.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path.name} is no 64-bit little-endian ELF file")
    machine, program_at, section_at = *struct.unpack_from("<18xH", data), *struct.unpack_from("<32xQQ", data)
    program_size, programs, section_size, sections = struct.unpack_from("<54x4H", data)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, section_at + i * section_size) for i in range(sections)]
    segments = [struct.unpack_from("<IIQQQQQQ", data, program_at + i * program_size) for i in range(programs)]
    of_kind = {header[1]: header for header in headers}
    needed: list[str] = []
    if _DYNAMIC_SECTION in of_kind:
        *_, offset, size, link, _, _, _ = of_kind[_DYNAMIC_SECTION]
        entries = struct.iter_unpack("<qQ", data[offset : offset + size])
        needed = [_string(data, headers[link][4] + value) for tag, value in entries if tag == _NEEDED]
    wanted, offered = _symbols(data, headers, of_kind)
    return Library(
        name=path.name,
        machine=machine,
        needed=tuple(needed),
        wanted=wanted,
        offered=frozenset(offered),
        page_size=min((s[7] for s in segments if s[0] == _LOAD), default=0),
        text=data,
    )


def _symbols(data: bytes, headers: list[tuple], of_kind: dict[int, tuple]) -> tuple[dict[str, str], set[str]]:
    """Return what the library wants, by version, and what it offers. Weak symbols that it wants may stay away."""
    wanted: dict[str, str] = {}
    offered: set[str] = set()
    if _DYNSYM_SECTION not in of_kind:
        return wanted, offered
    *_, offset, size, link, _, _, _ = of_kind[_DYNSYM_SECTION]
    strings = headers[link][4]
    names = _version_names(data, headers, of_kind)
    versions = of_kind.get(_VERSYM_SECTION)
    for i, entry in enumerate(struct.iter_unpack("<IBBHQQ", data[offset : offset + size])):
        name, info, _, section, _, _ = entry
        if section:
            offered.add(_string(data, strings + name))
        elif name and info >> 4 != _WEAK:
            number = struct.unpack_from("<H", data, versions[4] + 2 * i)[0] if versions else 0
            wanted[_string(data, strings + name)] = names.get(number, "")
    return wanted, offered


def _version_names(data: bytes, headers: list[tuple], of_kind: dict[int, tuple]) -> dict[int, str]:
    """Return the names of the versions that the library needs of others, by their number."""
    if _VERNEED_SECTION not in of_kind:
        return {}
    *_, at, _, link, count, _, _ = of_kind[_VERNEED_SECTION]
    strings = headers[link][4]
    found = {}
    for _ in range(count):
        _, num_versions, _, first, following = struct.unpack_from("<HHIII", data, at)
        inner = at + first
        for _ in range(num_versions):
            _, _, number, name, step = struct.unpack_from("<IHHII", data, inner)
            found[number] = _string(data, strings + name)
            inner += step
        at += following
    return found


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
