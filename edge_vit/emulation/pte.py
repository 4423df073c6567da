"""Run a .pte on an emulated ARM core: ExecuTorch's runtime and XNNPACK out of its published aarch64 wheel, no Python.

The wheel holds the runtime as libraries, with their headers; a small C++ program is linked with them. Loading and one
inference take a second; with Python and torch under the emulator they took minutes.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder
from edge_vit.devices import packages, runner_build
from edge_vit.emulation import tflite as emulation

RUNNER_SOURCE = Path(__file__).with_name("csrc") / "pte_runner.cpp"
AARCH64_WHEEL = "manylinux_2_28_aarch64"
WHEEL_MEMBERS = r"^executorch/(lib/|include/)"
# A file's operators register themselves when these are loaded.
LIBRARIES = ("executorch", "executorch_threadpool", "executorch_backend_xnnpack", "executorch_kernels_optimized",
             "executorch_kernels_quantized")  # fmt: skip
# They ask for a newer C++ library than Debian 12 has.
SUITE = "trixie"
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class PteToolchain:
    """What running a .pte takes, unpacked and compiled."""

    qemu: Path
    root: Path
    libraries: Path
    runner: Path
    executorch_version: str


def prepare(cache_dir: Path | None = None) -> PteToolchain:
    """Fetch and compile everything, or return what is already there.

    Args:
        cache_dir: Where it is kept; the user's cache folder by default.

    Raises:
        ValueError: If a package cannot be had, or ExecuTorch, whose release is taken, is not installed.
    """
    cache = cache_folder(cache_dir)
    version = _installed_version()
    host = packages.host_architecture()
    qemu = packages.fetch_debian(cache / f"qemu-{SUITE}-{host}", SUITE, host, ["qemu-user"], emulation.OTHER_QEMUS)
    libc = packages.fetch_debian(cache / f"libc-{SUITE}-arm64", SUITE, "arm64", PACKAGES)
    wheel = packages.fetch_wheel(
        cache / f"executorch-{version}-aarch64-libraries", f"executorch=={version}", platform=AARCH64_WHEEL,
        members=WHEEL_MEMBERS,
    )  # fmt: skip
    return PteToolchain(
        qemu=qemu / "usr/bin/qemu-aarch64",
        root=packages.once(cache / f"root-{SUITE}-1", lambda part: _make_root(part, libc)),
        libraries=wheel / "executorch/lib",
        runner=_compile(cache, wheel / "executorch", version),
        executorch_version=version,
    )


def run(
    model: Path, data: bytes, cpu: str = "cortex-a76", *, threads: int = 1, toolchain: PteToolchain | None = None
) -> bytes:
    """Return the bytes of a model's output for those of its input.

    Args:
        threads: Threads among which the runtime shares the work.

    Raises:
        ValueError: If the core is unknown, the model is missing, or the run fails.
    """
    core = emulation.core(cpu)
    if not model.is_file():
        raise ValueError(f"no model {model}")
    tools = toolchain or prepare()
    with tempfile.TemporaryDirectory(prefix="edge_vit-pte-") as scratch:
        source, target = Path(scratch) / "input", Path(scratch) / "output"
        source.write_bytes(data)
        command = [*command_words(tools, core), str(model.resolve()), str(source), str(target), str(threads)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, env={}
            )
        except subprocess.TimeoutExpired as e:
            raise ValueError(f"{model.name} did not finish within {TIMEOUT_S} s under emulation") from e
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "cpuinfo" not in line]
            code = f"exit code {done.returncode}"
            raise ValueError(f"{model.name} failed under emulation of {cpu} ({code}): {' / '.join(said[-3:])}")
        return target.read_bytes()


def command_words(tools: PteToolchain, core: emulation.Core) -> list[str]:
    """Return the command that runs a .pte; model, input, output and number of threads follow."""
    words = [str(tools.qemu), "-cpu", core.qemu, "-L", str(tools.root)]
    words += ["-E", f"LD_LIBRARY_PATH={tools.libraries}:/usr/lib/aarch64-linux-gnu"]
    return [*words, str(tools.runner)]


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("executorch")
    except PackageNotFoundError as e:
        raise ValueError("running a .pte under emulation needs ExecuTorch; pip install 'edge_vit[executorch]'") from e


def _make_root(part: Path, libc: Path) -> None:
    for name in ("lib", "usr"):
        (part / name).symlink_to(libc / "usr" / ("lib" if name == "lib" else ""))


def _compile(cache: Path, wheel: Path, version: str) -> Path:
    """Return the runner, kept in the cache by what went into it."""
    parts = (RUNNER_SOURCE.read_bytes(), version.encode(), packages.ZIG_VERSION.encode())
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def fill(part: Path) -> None:
        zig, target = str(runner_build.zig(cache)), ["-target", runner_build.RUNNER_TARGET, "-O2"]
        # Neither exceptions nor type information: our C++ and the libraries' do not share a C++ library.
        flags = ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-w"]
        flags.append("-DC10_USING_CUSTOM_GENERATED_MACROS")
        include = wheel / "include"
        flags += [f"-I{include}", f"-I{include / 'executorch/runtime/core/portable_type/c10'}"]
        made = str(part / "pte_runner.o")
        libraries = [str(wheel / "lib" / f"lib{name}.so") for name in LIBRARIES]
        link = ["-Wl,--no-as-needed", *libraries, "-Wl,--allow-shlib-undefined", "-o", str(part / "pte_runner")]
        folders = {"ZIG_GLOBAL_CACHE_DIR": str(cache / "zig-cache"), "ZIG_LOCAL_CACHE_DIR": str(part / "zig")}
        for command in (
            [zig, "c++", *target, *flags, "-c", str(RUNNER_SOURCE), "-o", made],
            [zig, "cc", *target, made, *link],
        ):
            packages.call(command, "the runner of .pte files", environment=os.environ | folders)
        shutil.rmtree(part / "zig", ignore_errors=True)

    return packages.once(cache / f"pte_runner-{key}", fill) / "pte_runner"
