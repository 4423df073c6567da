"""The header of a .safetensors file, checked with the standard library: a wrong file is refused before torch loads.

The file: eight bytes, the length of the header, little-endian; the header, JSON, {name: {dtype, shape, data_offsets}}
with texts under `__metadata__`; then the tensors' bytes, one after another without gaps.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

DTYPE_BYTES = {
    "BOOL": 1, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tensor: its type by the format's name, and where its bytes start in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """All tensors by name, and the file's own texts."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(content: Any) -> Header:
    """Check and return the header of a file's whole content, a buffer.

    Raises:
        ValueError: If this is no safetensors file, or it is truncated; the message says what is wrong.
    """
    length = int.from_bytes(content[:8], "little")
    data = 8 + length
    if len(content) < 8 or length > _MAX_HEADER_BYTES or data > len(content):
        raise ValueError(f"its {len(content)} bytes are fewer than its header needs")
    try:
        parsed = json.loads(bytes(content[8:data]).decode())
    except (ValueError, RecursionError) as e:
        raise ValueError("its header is no JSON") from e
    if not isinstance(parsed, dict):
        raise ValueError("its header is no JSON object")
    metadata = parsed.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no JSON object")
    entries = {name: _entry(name, value, data, len(content)) for name, value in parsed.items()}
    end = data
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        if entry.start != end and _num_bytes(entry):
            raise ValueError(f"the bytes of {name} do not follow those before it")
        end += _num_bytes(entry)
    if end != len(content):
        raise ValueError(f"it has {len(content)} bytes, its header describes {end}")
    return Header(entries=entries, metadata=metadata)


def _entry(name: str, value: Any, data: int, size: int) -> Entry:
    try:
        dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
        is_valid = dtype in DTYPE_BYTES and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(f"its header does not describe {name}") from e
    if not is_valid or end - begin != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise ValueError(f"its header describes {name} wrongly")
    if data + end > size:
        raise ValueError(f"{name} ends beyond its {size} bytes")
    return Entry(dtype=dtype, shape=shape, start=data + begin)


def _num_bytes(entry: Entry) -> int:
    return math.prod(entry.shape) * DTYPE_BYTES[entry.dtype]
