"""Run a .tflite on an emulated ARM core and count the instructions of one inference.

What runs is the published aarch64 LiteRT library, XNNPACK and all, in our runner, under qemu's user-mode emulation of
a named core. A plugin counts executed instructions. The count is deterministic and stands in for cost where no ARM
machine is at hand; it knows nothing of memory, caches and pipelines, and the emulator's milliseconds say nothing at
all and are therefore never reported.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder
from converters.tflite.reader import read_model
from edge_vit.devices import packages, runner_build
from edge_vit.devices.host_run import input_flags, seeded_inputs
from edge_vit.emulation.attribution import MARK_BEGIN, MARK_END, Profile, attribute


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
PLUGIN_SOURCE = Path(__file__).with_name("csrc") / "insncount.c"
QEMU_SUITE = "bookworm"  # its qemu-user is linked dynamically and so takes plugins; later releases' is static
OTHER_QEMUS = "usr/bin/qemu-[!a]*"
NUM_CORES = 2
RUNNER_FLAGS = ("-DCOUNT_MARKS", "-rdynamic")
TIMEOUT_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What emulation needs, unpacked and compiled."""

    qemu: Path
    qemu_libraries: tuple[Path, ...]
    roots: Path
    library: Path
    runner: Path
    plugin: Path
    litert_version: str
    qemu_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """One emulated run: the instructions of one inference, and the bytes of all outputs one after the other."""

    cpu: str
    instructions: int
    per_inference: tuple[int, ...]
    output: bytes
    profile: Profile | None = None


def prepare(cache_dir: Path | None = None) -> Toolchain:
    """Fetch and compile what emulation needs, or return what is already there.

    Args:
        cache_dir: Where it is kept; the user's cache folder by default.

    Raises:
        ValueError: If something cannot be had, naming the package.
    """
    cache = cache_folder(cache_dir)
    host = packages.host_architecture()
    tools = packages.fetch_debian(cache / f"qemu-{QEMU_SUITE}-{host}", QEMU_SUITE, host, ["qemu-user"], OTHER_QEMUS)
    libc = packages.fetch_debian(
        cache / f"libc-{QEMU_SUITE}-arm64", QEMU_SUITE, "arm64", ["libc6", "libstdc++6", "libgcc-s1"]
    )
    version = runner_build.litert_version()
    multiarch = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}.get(host)
    if multiarch is None:
        raise ValueError(f"emulation was made for amd64 and arm64 hosts, this one is {host}")
    machine = multiarch.split("-")[0]
    qemu = tools / "usr" / "bin" / "qemu-aarch64"
    libraries = (tools / "usr/lib" / multiarch, tools / "lib" / multiarch)
    said = packages.call([str(qemu), "--version"], "qemu", {"LD_LIBRARY_PATH": ":".join(map(str, libraries))})
    return Toolchain(
        qemu=qemu,
        qemu_libraries=libraries,
        roots=packages.once(cache / "roots-2", lambda part: _make_roots(part, libc)),
        library=runner_build.aarch64_library(cache, version),
        runner=runner_build.compile_c(cache, runner_build.RUNNER_SOURCE, runner_build.RUNNER_TARGET, RUNNER_FLAGS),
        plugin=runner_build.compile_c(cache, PLUGIN_SOURCE, f"{machine}-linux-gnu.2.28", ("-shared", "-fPIC")),
        litert_version=version,
        qemu_version=said.split("(")[0].split()[-1],
    )


def core(cpu: str) -> Core:
    """Return one of CPUS.

    Raises:
        ValueError: If there is none of that name.
    """
    if cpu not in _CORES:
        raise ValueError(f"unknown core {cpu!r}; choose from {', '.join(CPUS)}")
    return _CORES[cpu]


def count_instructions(
    model: Path, cpu: str = "cortex-a76", *, runs: int = 3, toolchain: Toolchain | None = None
) -> int:
    """Return the instructions that one steady inference executes on `cpu`."""
    return emulate(model, cpu, runs=runs, toolchain=toolchain).instructions


def by_operator(model: Path, cpu: str = "cortex-a76", *, toolchain: Toolchain | None = None) -> Profile:
    """Return where the instructions of one inference go, operator by operator."""
    profile = emulate(model, cpu, with_profile=True, toolchain=toolchain).profile
    assert profile is not None
    return profile


def emulate(
    model: Path,
    cpu: str = "cortex-a76",
    *,
    inputs: Sequence[bytes] | None = None,
    runs: int = 3,
    with_profile: bool = False,
    toolchain: Toolchain | None = None,
) -> Emulated:
    """Run a model on an emulated core.

    Args:
        model: The .tflite file.
        cpu: One of CPUS.
        inputs: The bytes of each input tensor; seeded random ones by default.
        runs: Inferences after the first two, each of which is counted; the median is the result.
        with_profile: Also attribute one more inference to the operators. The counts above do not include profiling.
        toolchain: What `prepare` returned; called when absent.

    Raises:
        ValueError: If the model or a part of the toolchain is missing, or the run fails.
    """
    core(cpu)
    if not model.is_file():
        raise ValueError(f"no model {model}")
    if runs < 1:
        raise ValueError(f"runs is {runs}; at least one inference must be counted")
    tools = toolchain or prepare()
    tensors = inputs if inputs is not None else seeded_inputs(read_model(model).input_tensors)
    with tempfile.TemporaryDirectory(prefix="edge_vit-emulate-") as scratch:
        marks, output, _ = _run(tools, model, cpu, tensors, Path(scratch), ["--runs", str(runs)])
        if with_profile:
            flags = ["--runs", "1", "--profile"]
            profile_marks, _, events = _run(tools, model, cpu, tensors, Path(scratch), flags)
    counts = _inference_counts(marks)[-runs:]
    instructions = sorted(counts)[len(counts) // 2]
    profile = None
    if with_profile:
        kinds = [op.kind for op in read_model(model).operators]
        profile = attribute(profile_marks, events, instructions, kinds)
    return Emulated(
        cpu=cpu,
        instructions=instructions,
        per_inference=tuple(counts),
        output=output,
        profile=profile,
    )


def _make_roots(part: Path, libc: Path) -> None:
    """Make each core's root folder, as the emulated program sees it: C library and description of the processor."""
    for cpu in CPUS:
        root = part / cpu
        (root / "proc").mkdir(parents=True)
        (root / "proc" / "cpuinfo").write_text(cpuinfo(cpu))
        processors = root / "sys/devices/system/cpu"
        processors.mkdir(parents=True)
        for name in ("possible", "present"):
            (processors / name).write_text(f"0-{NUM_CORES - 1}\n")
        for name in ("lib", "usr"):
            (root / name).symlink_to(libc / name)


def cpuinfo(cpu: str) -> str:
    """Return /proc/cpuinfo of a core, as an aarch64 kernel writes it."""
    found = core(cpu)
    block = (
        f"BogoMIPS\t: 100.00\nFeatures\t: {found.features}\nCPU implementer\t: {found.implementer}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {found.part}\nCPU revision\t: {found.revision}\n\n"
    )
    return "".join(f"processor\t: {i}\n{block}" for i in range(NUM_CORES))


def _run(
    tools: Toolchain, model: Path, cpu: str, inputs: Sequence[bytes], scratch: Path, flags: list[str]
) -> tuple[list[tuple[int, int]], bytes, list[dict]]:
    """Run the runner under qemu; return the marks (code, count), the output bytes and the profiler's events."""
    counts, output = scratch / "counts", scratch / "output"
    command = [str(tools.qemu), "-U", "LD_LIBRARY_PATH", "-cpu", core(cpu).qemu, "-L", str(tools.roots / cpu)]
    command += ["-plugin", f"{tools.plugin},out={counts}", "-d", "plugin", str(tools.runner)]
    command += ["--library", str(tools.library), "--model", str(model.resolve()), "--output", str(output)]
    command += ["--threads", "1", "--warmup-runs", "1", *flags, *input_flags(inputs, scratch)]
    # An environment of fixed size: its strings lie on the stack, whose alignment would move the count by a few
    # instructions.
    environment = {"LD_LIBRARY_PATH": ":".join(map(str, tools.qemu_libraries))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as e:
        raise ValueError(f"{model.name} did not finish within {TIMEOUT_SECONDS} s under emulation") from e
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith(("INFO", "WARNING", "VERBOSE"))]
        raise ValueError(
            f"{model.name} failed under emulation of {cpu} (exit code {done.returncode}): {' / '.join(said[-3:])}"
        )
    lines = [line.split() for line in counts.read_text().splitlines()]
    marks = [(int(code), int(count)) for code, count in lines if code != "exit"]
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return marks, output.read_bytes(), [r for r in records if r["event"] == "operator"]


def _inference_counts(marks: Sequence[tuple[int, int]]) -> list[int]:
    """Return the instructions between each begin mark and its end mark."""
    counts, begin = [], 0
    for code, count in marks:
        if code == MARK_BEGIN:
            begin = count
        elif code == MARK_END:
            counts.append(count - begin)
    return counts
