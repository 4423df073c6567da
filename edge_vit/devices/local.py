"""This machine itself as the one to measure on: a Raspberry Pi, an ARM server."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from edge_vit.devices import process
from edge_vit.devices.machine import Cancel, MachineError


class LocalMachine:
    """The machine that runs this program."""

    name = "local"

    def __init__(self, cancel: Cancel | None = None) -> None:
        self.temporary = tempfile.gettempdir()
        self.cancel = cancel or Cancel()

    def run(
        self, script: str, *, on_line: Callable[[str], None] | None = None, timeout_s: float = 60
    ) -> tuple[int, str]:
        """Run a shell script; return its exit code and output."""
        try:
            code, said, _ = process.run(["sh", "-c", script], cancel=self.cancel, timeout_s=timeout_s, on_line=on_line)
        except TimeoutError as e:
            raise MachineError("device error", f"a command did not end within {timeout_s:.0f} s") from e
        return (code if code >= 0 else 128 - code), said  # a signal, in the shell's way of saying it

    def stop(self) -> None:
        """Do nothing: a script here ends with its `run`."""

    def push(self, local: Path, remote: str) -> None:
        """Copy a file."""
        self._copy(local, remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file."""
        self._copy(remote, local)

    def _copy(self, source: Path | str, target: Path | str) -> None:
        try:
            shutil.copy(source, target)
        except OSError as e:
            kind = "no space" if e.errno == 28 else "device error"
            raise MachineError(kind, f"cannot copy {source} to {target}: {e.strerror}") from e
