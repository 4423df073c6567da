"""Run an aarch64 program under qemu's user-mode emulation of a core, and count the instructions between its marks."""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vit.devices import packages, runner_build
from edge_vit.emulation.attribution import MARK_BEGIN, MARK_END, Profile
from edge_vit.emulation.cores import core

PLUGIN_SOURCE = Path(__file__).with_name("csrc") / "insncount.c"
SUITE = "bookworm"  # its qemu-user is linked dynamically and so takes plugins; later releases' is static
OTHER_QEMUS = "usr/bin/qemu-[!a]*"
TIMEOUT_SECONDS = 900
_NOISE = ("INFO", "WARNING", "VERBOSE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Qemu:
    """The emulator, unpacked, and the plugin that counts."""

    program: Path
    libraries: tuple[Path, ...]
    plugin: Path
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """One emulated run: the instructions of one inference, and the bytes of all outputs one after the other."""

    cpu: str
    instructions: int
    per_inference: tuple[int, ...]
    output: bytes
    profile: Profile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a program left: its marks (code, count of instructions so far), and the JSON objects that it printed."""

    marks: tuple[tuple[int, int], ...]
    records: tuple[dict, ...]

    def inference_counts(self) -> tuple[int, ...]:
        """Return the instructions between each begin mark and its end mark."""
        counts, begin = [], 0
        for code, count in self.marks:
            if code == MARK_BEGIN:
                begin = count
            elif code == MARK_END:
                counts.append(count - begin)
        return tuple(counts)


def prepare(cache: Path) -> Qemu:
    """Fetch the emulator and compile the plugin, or return what is already there.

    Raises:
        ValueError: If a package cannot be had, or this machine is of an architecture that was not thought of.
    """
    host = packages.host_architecture()
    tools = packages.fetch_debian(cache / f"qemu-{SUITE}-{host}", SUITE, host, ["qemu-user"], OTHER_QEMUS)
    multiarch = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}.get(host)
    if multiarch is None:
        raise ValueError(f"emulation was made for amd64 and arm64 hosts, this one is {host}")
    machine = multiarch.split("-")[0]
    program = tools / "usr" / "bin" / "qemu-aarch64"
    libraries = (tools / "usr/lib" / multiarch, tools / "lib" / multiarch)
    said = packages.call([str(program), "--version"], "qemu", {"LD_LIBRARY_PATH": ":".join(map(str, libraries))})
    return Qemu(
        program=program,
        libraries=libraries,
        plugin=runner_build.compile_c(cache, PLUGIN_SOURCE, f"{machine}-linux-gnu.2.28", ("-shared", "-fPIC")),
        version=said.split("(")[0].split()[-1],
    )


def command_words(
    qemu: Qemu, cpu: str, root: Path, environment: Mapping[str, str], flags: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs a program on an emulated core; the program and its arguments follow."""
    words = ["/usr/bin/env", f"LD_LIBRARY_PATH={':'.join(map(str, qemu.libraries))}", str(qemu.program)]
    words += ["-cpu", core(cpu).qemu, "-L", str(root), *flags, *(["-d", "plugin"] if flags else [])]
    for name, value in {"LD_LIBRARY_PATH": "", **environment}.items():
        words += ["-E", f"{name}={value}"] if value else ["-U", name]
    return words


def run(
    qemu: Qemu, cpu: str, root: Path, command: Sequence[str], *, what: str, environment: Mapping[str, str] | None = None
) -> Run:
    """Run an aarch64 program on an emulated core.

    Args:
        root: What the program sees as its root folder.
        what: What is run, for messages.
        environment: The program's environment.

    Raises:
        ValueError: If it fails or does not end.
    """
    with tempfile.TemporaryDirectory(prefix="edge_vit-count-") as scratch:
        counts = Path(scratch) / "counts"
        words = command_words(qemu, cpu, root, environment or {}, ["-plugin", f"{qemu.plugin},out={counts}"])
        try:
            # An empty environment: its strings lie on the stack, whose alignment would move the count by a few
            # instructions.
            done = subprocess.run(
                [*words, *command], capture_output=True, text=True, env={}, timeout=TIMEOUT_SECONDS,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as e:
            raise ValueError(f"{what} did not finish within {TIMEOUT_SECONDS} s under emulation") from e
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if not line.startswith(_NOISE) and "cpuinfo" not in line]
            code = f"exit code {done.returncode}"
            raise ValueError(f"{what} failed under emulation of {cpu} ({code}): {' / '.join(said[-3:])}")
        lines = [line.split() for line in counts.read_text().splitlines()]
    return Run(
        marks=tuple((int(code), int(count)) for code, count in lines if code != "exit"),
        records=tuple(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")),
    )
