"""The ARM cores that can be emulated, and the root folders that a program sees on them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A core to emulate: its name in qemu, and how the kernel describes it in /proc/cpuinfo.

    XNNPACK chooses its kernels by the latter. Part numbers: Arm's reference manuals.
    """

    qemu: str
    implementer: str = "0x41"
    part: str
    revision: str
    features: str

    @property
    def has_half(self) -> bool:
        """Tell whether it computes in float16."""
        return "asimdhp" in self.features.split()


_DOT_PRODUCT = "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_CORES = {
    "cortex-a53": Core(
        qemu="cortex-a53", part="0xd03", revision="4", features="fp asimd aes pmull sha1 sha2 crc32 cpuid"
    ),
    "cortex-a72": Core(
        qemu="cortex-a72", part="0xd08", revision="3", features="fp asimd aes pmull sha1 sha2 crc32 cpuid"
    ),
    "cortex-a76": Core(qemu="cortex-a76", part="0xd0b", revision="1", features=_DOT_PRODUCT),
    # No core that was built: qemu's own, under its own numbers, without the vector extensions SVE and SME. With SME
    # this release of qemu computes wrong results.
    "armv8.6-i8mm": Core(
        qemu="max,sve=off,sme=off", implementer="0x00", part="0x051", revision="0", features=f"{_DOT_PRODUCT} i8mm bf16"
    ),
}
CPUS = tuple(sorted(_CORES))
DEFAULT_CPUS = ("cortex-a53", "cortex-a76")
NUM_PROCESSORS = 4


def core(cpu: str) -> Core:
    """Return one of CPUS.

    Raises:
        ValueError: If there is none of that name.
    """
    if cpu not in _CORES:
        raise ValueError(f"unknown core {cpu!r}; choose from {', '.join(CPUS)}")
    return _CORES[cpu]


def make_roots(part: Path, libc: Path) -> None:
    """Make each core's root folder, as the emulated program sees it: C library and description of the processor."""
    for cpu in CPUS:
        root = part / cpu
        (root / "proc").mkdir(parents=True)
        (root / "proc" / "cpuinfo").write_text(cpuinfo(cpu))
        processors = root / "sys/devices/system/cpu"
        processors.mkdir(parents=True)
        for name in ("possible", "present"):
            (processors / name).write_text(f"0-{NUM_PROCESSORS - 1}\n")
        (root / "usr").symlink_to(libc / "usr")
        # Debian 13's packages leave /lib to the link that its installer makes.
        (root / "lib").symlink_to(libc / "lib" if (libc / "lib").exists() else libc / "usr" / "lib")


def cpuinfo(cpu: str) -> str:
    """Return /proc/cpuinfo of a core, as an aarch64 kernel writes it."""
    found = core(cpu)
    block = (
        f"BogoMIPS\t: 100.00\nFeatures\t: {found.features}\nCPU implementer\t: {found.implementer}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {found.part}\nCPU revision\t: {found.revision}\n\n"
    )
    return "".join(f"processor\t: {i}\n{block}" for i in range(NUM_PROCESSORS))
