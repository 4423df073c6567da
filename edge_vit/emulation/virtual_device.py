"""Emulated aarch64 devices that speak real adb, in namespaces of their own: what bench_arm is tested against without
a phone.

Each is Debian's adbd under qemu's user-mode emulation in a Debian arm64 userland. Nothing outside sees them: network,
mounts and processes are in new namespaces, which end with the process that made them.

    python -m edge_vit.emulation.virtual_device [--count N] -- COMMAND...      run COMMAND with N such devices attached
"""

import argparse
import contextlib
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.cache import SETTING, cache_folder
from edge_vit.devices import packages
from edge_vit.emulation import cores
from edge_vit.emulation.qemu import OTHER_QEMUS

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer

DEVICE_SUITE = "trixie"
DEVICE_PACKAGES = ["adbd", "dash", "coreutils", "util-linux", "libc-bin", "grep", "sed"]
ADB_SUITE = "bookworm"
MAX_DEVICES = 16
FIRST_PORT = 15555  # not 5555, which adb would also list as an emulator
MIN_KERNEL = (6, 7)  # binary formats belong to a user namespace from here on
SCRIPT = Path(__file__).with_name("virtual_device.sh")

# Process 1 of the namespaces: bring the loopback device up (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING), then wait until
# whoever started it closes the pipe, however that comes about. Its end is the end of everything in there.
HOLDER = """
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceParts:
    """What the devices and their client are made of, unpacked."""

    qemu: Path
    userland: Path
    adb: Path


def prepare(cache_dir: Path | None = None) -> DeviceParts:
    """Fetch what the devices need, or return what is already there.

    Raises:
        ValueError: If a package cannot be had.
    """
    cache = cache_folder(cache_dir)
    host = packages.host_architecture()
    qemu = packages.fetch_debian(cache / f"qemu-{DEVICE_SUITE}-{host}", DEVICE_SUITE, host, ["qemu-user"], OTHER_QEMUS)
    userland = packages.fetch_debian(cache / f"device-{DEVICE_SUITE}-arm64", DEVICE_SUITE, "arm64", DEVICE_PACKAGES)
    client = packages.fetch_debian(cache / f"adb-{ADB_SUITE}-{host}", ADB_SUITE, host, ["adb"])
    return DeviceParts(
        qemu=qemu / "usr/bin/qemu-aarch64", userland=userland, adb=_adb_wrapper(cache, client, ADB_SUITE, host)
    )


def _adb_wrapper(cache: Path, client: Path, suite: str, host: str) -> Path:
    """Make an `adb` that finds the libraries it was unpacked with."""
    multiarch = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}.get(host, host)
    libraries = client / "usr/lib" / multiarch

    def fill(part: Path) -> None:
        program = part / "adb"
        program.write_text(
            f"#!/bin/sh\nLD_LIBRARY_PATH='{libraries}/android:{libraries}' "
            f"exec '{client}/usr/lib/android-sdk/platform-tools/adb' \"$@\"\n"
        )
        program.chmod(0o755)

    return packages.once(cache / f"adb-wrapper-{suite}-{host}", fill) / "adb"


def unsupported_reason() -> str | None:
    """Return why this machine cannot hold such devices, or None if it can."""
    if platform.system() != "Linux":
        return f"needs Linux, this is {platform.system()}"
    numbers = re.findall(r"\d+", platform.release())
    if tuple(map(int, numbers[:2])) < MIN_KERNEL:
        needed = ".".join(map(str, MIN_KERNEL))
        return f"needs kernel {needed} for binary formats in a namespace, this is {platform.release()}"
    for tool in ("unshare", "nsenter", "apt-get", "dpkg-deb", "dpkg"):
        if not shutil.which(tool):
            return f"needs the program {tool}"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True)
    if tried.returncode:
        return f"needs user namespaces: {tried.stderr.strip()}"
    return None


_UNSHARE = ["unshare", "-U", "-r", "-m", "-n", "-p", "-f", "--kill-child", "--mount-proc"]


class VirtualDevices:
    """Some emulated devices and an adb that sees them, from `with` to its end."""

    def __init__(
        self, count: int = 1, *, cpu: str = "cortex-a76", data_size: str = "96m", cache_dir: Path | None = None
    ) -> None:
        self.count, self.cpu, self.data_size = count, cpu, data_size
        self.parts = prepare(cache_dir)
        self.serials: list[str] = []
        self._stack = contextlib.ExitStack()
        self.holder_pid = 0
        self._roots: dict[int, Path] = {}
        self._daemons: list[subprocess.Popen] = []

    def __enter__(self) -> "VirtualDevices":
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: [daemon.wait(timeout=30) for daemon in self._daemons])
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge_vit-devices-")))
            self._open_namespaces(stack)
            (self.folder / "cpuinfo").write_text(cores.cpuinfo(self.cpu))
            for i in range(self.count):
                self.start_device(i)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def environment(self) -> dict[str, str]:
        """Return the environment in which commands see these devices and no others."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        own = {"HOME": str(home), "TMPDIR": str(home), SETTING: str(cache_folder()), "ANDROID_ADB_SERVER_PORT": "15037"}
        return os.environ | own | {"PATH": f"{self.parts.adb.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"}

    def adb(self) -> str:
        """Return an adb program for use from outside, which enters the namespaces and then does as told."""
        program = self.folder / "adb"
        if not program.exists():
            settings = {k: v for k, v in self.environment().items() if os.environ.get(k) != v}
            words = " ".join(shlex.quote(w) for w in self.command([str(self.parts.adb)]))
            exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in settings.items())
            program.write_text(f'#!/bin/sh\n{exports}exec {words} "$@"\n')
            program.chmod(0o755)
        return str(program)

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command line that runs `words` inside, in the present folder."""
        enter = ["nsenter", "-t", str(self.holder_pid), "-U", "--preserve-credentials", "-m", "-n", "-p"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', os.getcwd(), *words]

    def run(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess:
        """Run a command inside and return what came of it."""
        return subprocess.run(
            self.command(words),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    def popen(self, *words: str) -> subprocess.Popen:
        """Start a command inside."""
        return subprocess.Popen(
            self.command(words),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def start_device(self, number: int, data_size: str | None = None) -> str:
        """Start a device, connect adb to it, and return its serial."""
        port = FIRST_PORT + number
        root = self.folder / f"device{number}-{secrets.token_hex(3)}"
        words = ["sh", str(SCRIPT), str(root), str(self.parts.userland), str(self.parts.qemu)]
        words += [str(self.folder / "cpuinfo"), cores.core(self.cpu).qemu, str(port), data_size or self.data_size]
        self._roots[number] = root
        log = self.folder / f"device{number}.log"
        with open(log, "w") as handle:
            daemon = subprocess.Popen(
                self.command(words), env=self.environment(), stdout=handle, stderr=handle, stdin=subprocess.DEVNULL
            )
        self._daemons.append(daemon)
        serial = f"127.0.0.1:{port}"
        self.run("adb", "disconnect", serial)  # a dead one of that name would have to time out first
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            said = self.run("adb", "connect", serial).stdout
            if "connected to" in said and self.run("adb", "-s", serial, "shell", "echo up").stdout.strip() == "up":
                self.serials = sorted({*self.serials, serial})
                return serial
            time.sleep(0.2)
        raise ValueError(f"device {serial} did not come up: {log.read_text()[-500:]}")

    def kill_device(self, number: int) -> None:
        """Kill everything that runs in a device, as if its battery were pulled."""
        root = self._roots[number]
        script = 'for p in /proc/[0-9]*; do [ "$(readlink $p/root)" = "$0" ] && kill -9 "${p#/proc/}"; done; true'
        self.run("sh", "-c", script, str(root))

    def stop_device(self, number: int) -> None:
        """Kill a device's daemon and forget the device."""
        self.kill_device(number)
        serial = f"127.0.0.1:{FIRST_PORT + number}"
        self.run("adb", "disconnect", serial)
        self.serials = [other for other in self.serials if other != serial]

    def kill_inside(self, process: subprocess.Popen) -> None:
        """End a command that `popen` started; killing its nsenter from outside would leave the command itself."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        process.communicate(timeout=30)

    def _open_namespaces(self, stack: contextlib.ExitStack) -> None:
        holder = subprocess.Popen(
            [*_UNSHARE, sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.callback(self._close_namespaces, holder)
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "ready":
            reason = unsupported_reason() or "no reason known"
            raise ValueError(f"cannot open namespaces for the emulated devices: {reason}")
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        self.holder_pid = int(children[0])

    @staticmethod
    def _close_namespaces(holder: subprocess.Popen) -> None:
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.close()
        try:
            holder.wait(timeout=10)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()
        holder.stdout.close()


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.emulation.virtual_device",
        description="Run a command with emulated aarch64 devices attached to its adb.",
    )
    parser.add_argument("--count", type=int, default=1, help="number of devices (default 1)")
    parser.add_argument("--cpu", choices=cores.CPUS, default="cortex-a76")
    parser.add_argument("--data-size", default="96m", help="size of a device's storage (default 96m)")
    parser.add_argument("command", nargs="+", help="the command, after --")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its command's exit code."""
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted="interrupted", is_forced=False)


def _answer(argv: Sequence[str] | None) -> "Answer":
    from edge_vit.console.answer import Answer

    arguments = build_parser().parse_args(argv)
    if not 1 <= arguments.count <= MAX_DEVICES:
        raise ValueError(f"count is {arguments.count}; it must be between 1 and {MAX_DEVICES}")
    if reason := unsupported_reason():
        raise RuntimeError(f"emulated devices: {reason}")
    try:
        with VirtualDevices(arguments.count, cpu=arguments.cpu, data_size=arguments.data_size) as devices:
            return Answer(code=subprocess.run(devices.command(arguments.command), env=devices.environment()).returncode)
    except ValueError as e:  # no misuse: a package cannot be had, a device does not come up
        raise RuntimeError(str(e)) from e


if __name__ == "__main__":
    raise SystemExit(main())
