"""Count how often files are opened, by whomever: Python, a native library, another process. Linux tells (inotify)."""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_IN_OPEN, _IN_NONBLOCK = 0x20, 0o4000
_EVENT = struct.Struct("iIII")


@contextlib.contextmanager
def counted_opens(*paths: Path) -> Iterator[dict[Path, int]]:
    """Give a dict that says, once the block has ended, how often each of `paths` was opened within it."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs inotify")
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(_IN_NONBLOCK)
    watches = {libc.inotify_add_watch(handle, os.fsencode(path), _IN_OPEN): path for path in paths}
    assert handle >= 0 and -1 not in watches
    counts = dict.fromkeys(paths, 0)
    try:
        yield counts
        with contextlib.suppress(BlockingIOError):
            while events := os.read(handle, 1 << 16):
                for start in range(0, len(events), _EVENT.size):
                    counts[watches[_EVENT.unpack_from(events, start)[0]]] += 1
    finally:
        os.close(handle)
