"""What bench_arm asks of a machine it measures on: run a shell script there, copy files, clean up."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

PID_MARK, EXIT_MARK = "@pid ", "@exit "


class Cancel:
    """A switch that ends all processes started under it, and refuses new ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self.is_set = False

    def set(self) -> None:
        """End everything that runs and let nothing new start."""
        with self._lock:
            self.is_set = True
            for process in self._running:
                end_group(process)

    def clear(self) -> None:
        """Let processes start again: cleaning up needs some."""
        with self._lock:
            self.is_set = False

    def started(self, process: subprocess.Popen) -> None:
        """Put a process under the switch."""
        with self._lock:
            if self.is_set:
                end_group(process, at_once=True)
            self._running.add(process)

    def ended(self, process: subprocess.Popen) -> None:
        """Take an ended process from under the switch."""
        with self._lock:
            self._running.discard(process)


def end_group(process: subprocess.Popen, *, at_once: bool = False) -> None:
    """End a process that leads its own group and all in it: an adb may be a script around one.

    Windows has no groups to signal; there the process alone is ended.
    """
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL if at_once else signal.SIGTERM)


class MachineError(ValueError):
    """Something went wrong on the way to or on a machine.

    `kind` is one of KINDS, so that a record can carry it and a caller need not read the message.
    """

    KINDS = (
        "no adb",
        "no device",
        "unauthorized",
        "offline",
        "no space",
        "disconnected",
        "no runner",
        "runner failed",
        "device error",
        "interrupted",
    )

    def __init__(self, kind: str, message: str) -> None:
        assert kind in self.KINDS
        super().__init__(message)
        self.kind = kind


class Machine(Protocol):
    """A machine to measure on, over adb or this one itself."""

    name: str
    temporary: str
    cancel: Cancel

    def run(
        self, script: str, *, on_line: Callable[[str], None] | None = None, timeout_s: float = 60
    ) -> tuple[int, str]:
        """Run a shell script; return its exit code and its output, handing each line over as it comes."""
        ...

    def stop(self) -> None:
        """End what a broken-off `run` left behind."""
        ...

    def push(self, local: Path, remote: str) -> None:
        """Copy a file there and check it by SHA-256."""
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from there."""
        ...


def quote(word: str) -> str:
    """Quote a word for a POSIX shell, leaving plain ones readable."""
    if re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def wrap(script: str) -> str:
    """Wrap a script so that it says its process id first and its exit code last.

    The last line is what tells a script that ended from a connection that broke: adb's own exit code is 1 for both,
    and old daemons do not carry the script's at all.
    """
    inner = quote(f'echo "{PID_MARK}$$"; {script}')
    # A newline before the mark: the script's last line may not have ended.
    return f'sh -c {inner}; code=$?; echo; echo "{EXIT_MARK}$code"'
