"""Reach Android and Linux devices through the adb program.

The program rather than one of the Python protocol libraries, because those lose exit codes. Every call names its
device.
"""

import importlib.util
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from converters.checksum import sha256_file
from edge_vit.devices import process
from edge_vit.devices.machine import EXIT_MARK, PID_MARK, Cancel, MachineError, quote, wrap

PUSH_TIMEOUT_S = 600
GET_ADB = "install Android's platform tools, pip install adbutils (its wheel brings one), or give --adb PATH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A line of `adb devices`: a serial and the state it is in, "device" when it can be used."""

    serial: str
    state: str


def find_adb(given: str | None = None) -> str:
    """Return the adb program: the given one, the one on PATH, or the one in adbutils' wheel.

    Raises:
        MachineError: If there is none.
    """
    if given:
        found = shutil.which(given)
        if found:
            return found
        raise MachineError("no adb", f"no adb program at {given}; {GET_ADB}")
    if on_path := shutil.which("adb"):
        return on_path
    spec = importlib.util.find_spec("adbutils")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(folder) / "binaries" / ("adb.exe" if os.name == "nt" else "adb")
        if bundled.exists():
            if not os.access(bundled, os.X_OK):
                bundled.chmod(bundled.stat().st_mode | stat.S_IXUSR)
            return str(bundled)
    raise MachineError("no adb", f"no adb program on PATH; {GET_ADB}")


def version(adb: str) -> str:
    """Return adb's own version, such as 36.0.0."""
    _, said, _ = process.run([adb, "version"], cancel=Cancel(), timeout_s=30)
    words = [line.split()[-1] for line in said.splitlines() if line.startswith("Version")]
    return words[0] if words else "unknown"


def server_words(host: str | None, port: int | None) -> tuple[str, ...]:
    """Return adb's own flags for a server that is not on this machine or not at its usual port."""
    return (*(("-H", host) if host else ()), *(("-P", str(port)) if port else ()))


def list_devices(adb: str, server: tuple[str, ...] = ()) -> list[Attached]:
    """Return everything that adb sees, usable or not; `server` is what `server_words` returned."""
    code, said, errors = process.run([adb, *server, "devices"], cancel=Cancel(), timeout_s=60)
    if code:
        raise MachineError("no adb", f"adb devices failed: {_last_line(errors or said)}")
    devices = []
    for line in said.splitlines():
        serial, tab, state = line.partition("\t")
        if tab:
            devices.append(Attached(serial=serial, state=state.split(" (")[0].strip()))
    return devices


def choose_devices(attached: list[Attached], serials: tuple[str, ...], take_all: bool) -> list[str]:
    """Return the serials to measure on.

    Args:
        attached: What `list_devices` returned.
        serials: Those asked for; none means the only one there is.
        take_all: Take every usable device, and none that is not.

    Raises:
        MachineError: If there is none, too many to guess, or one asked for cannot be used.
    """
    if not attached:
        raise MachineError(
            "no device", "no device attached; plug one in with USB debugging on, or `adb connect HOST:PORT`"
        )
    states = {device.serial: device.state for device in attached}
    if take_all:
        usable = [serial for serial, state in states.items() if state == "device"]
        if not usable:
            raise unusable(attached[0].serial, attached[0].state)
        return usable
    if not serials and len(attached) > 1:
        raise MachineError(
            "no device", f"{len(attached)} devices attached ({', '.join(states)}); choose with --serial or take --all"
        )
    for serial in serials or tuple(states):
        if serial not in states:
            raise MachineError("no device", f"no device {serial}; attached: {', '.join(states)}")
        if states[serial] != "device":
            raise unusable(serial, states[serial])
    return list(serials or states)


def unusable(serial: str, state: str) -> MachineError:
    """Return the error for a device that is attached and cannot be used."""
    if state in ("unauthorized", "authorizing"):
        return MachineError(
            "unauthorized", f"device {serial} is unauthorized; unlock it and accept the debugging question on it"
        )
    if state == "offline":
        return MachineError("offline", f"device {serial} is offline; reconnect it, or `adb kill-server` and try again")
    if state == "no permissions":
        return MachineError(
            "unauthorized",
            f"this user may not open device {serial}; see developer.android.com/tools/device for udev rules",
        )
    return MachineError("offline", f"device {serial} is in state {state!r}, not ready for commands")


class AdbDevice:
    """One device behind adb."""

    temporary = "/data/local/tmp"

    def __init__(self, adb: str, serial: str, cancel: Cancel | None = None, *, server: tuple[str, ...] = ()) -> None:
        self.adb, self.serial, self.name, self.server = adb, serial, serial, server
        self.cancel = cancel or Cancel()
        self._remote_pid: int | None = None

    def command(self, *words: str) -> list[str]:
        """Return the adb command line for this device."""
        return [self.adb, *self.server, "-s", self.serial, *words]

    def run(
        self, script: str, *, on_line: Callable[[str], None] | None = None, timeout_s: float = 60
    ) -> tuple[int, str]:
        """Run a shell script on the device; return its exit code and output (error output included where it says 2>&1).

        Raises:
            MachineError: If the connection broke before the script had ended, or it took too long.
        """
        exit_code: list[int] = []
        output: list[str] = []

        def handle(line: str) -> None:
            if line.startswith(EXIT_MARK):
                exit_code.append(int(line.removeprefix(EXIT_MARK)))
                self._remote_pid = None
            elif line.startswith(PID_MARK):
                self._remote_pid = int(line.removeprefix(PID_MARK))
            else:
                output.append(line)
                if on_line:
                    on_line(line)

        try:
            _, _, errors = process.run(
                self.command("shell", wrap(script)), cancel=self.cancel, timeout_s=timeout_s, on_line=handle
            )
        except TimeoutError as e:
            raise MachineError("disconnected", f"device {self.serial} did not answer within {timeout_s:.0f} s") from e
        if not exit_code:
            raise self._broken(errors)
        if output and not output[-1]:
            output.pop()
        return exit_code[-1], "".join(line + "\n" for line in output)

    def stop(self) -> None:
        """End the script that a broken-off `run` left behind on the device."""
        pid, self._remote_pid = self._remote_pid, None
        if pid:
            self.run(f"kill {pid} 2>/dev/null; true", timeout_s=10)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the device and check it by SHA-256."""
        self._copy("push", str(local), remote)
        code, said = self.run(f"sha256sum {quote(remote)}")
        if code:
            raise MachineError("device error", f"device {self.serial} cannot check {remote}: no sha256sum there")
        if said.split()[:1] != [sha256_file(local)]:
            raise MachineError("device error", f"{local.name} arrived damaged on device {self.serial}")

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device."""
        self._copy("pull", remote, str(local))

    def _copy(self, verb: str, source: str, target: str) -> None:
        try:
            code, said, errors = process.run(
                self.command(verb, source, target), cancel=self.cancel, timeout_s=PUSH_TIMEOUT_S
            )
        except TimeoutError as e:
            raise MachineError("disconnected", f"device {self.serial} took over {PUSH_TIMEOUT_S} s to {verb}") from e
        if not code:
            return
        text = said + errors
        if "No space left" in text:
            name = Path(source).name
            raise MachineError(
                "no space", f"no space left on device {self.serial} for {name}; free some in {self.temporary}"
            )
        raise self._broken(text)

    def _broken(self, said: str) -> MachineError:
        """Return the error for a connection that did not carry a command to its end."""
        if "unauthorized" in said or "still authorizing" in said:
            return unusable(self.serial, "unauthorized")
        if "offline" in said:
            return unusable(self.serial, "offline")
        detail = _last_line(said)
        lost = any(word in detail for word in ("not found", "closed", "connect", "protocol fault", "EOF"))
        if "error:" in detail and not lost:
            return MachineError("device error", f"device {self.serial}: {detail}")
        return MachineError("disconnected", f"device {self.serial} disconnected" + (f" ({detail})" if detail else ""))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
