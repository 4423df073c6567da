"""Run a .pte on an emulated ARM core: ExecuTorch's runtime and XNNPACK out of its published aarch64 wheel, no Python.

The wheel's Python binding is a library that holds the whole runtime. A small C++ program is linked with it; what the
binding would take from torch's libraries, a thread pool of one thread and what cpuinfo says, our stand-ins give it.
Loading and one inference take a second; with Python and torch under the emulator they took minutes.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder
from edge_vit.devices import packages, runner_build
from edge_vit.emulation import tflite as emulation

SOURCES = Path(__file__).with_name("csrc")
DEFAULT_VERSION = "1.4.1"
AARCH64_WHEEL = "manylinux_2_28_aarch64"
BINDING = "executorch/extension/pybindings/_portable_lib.cpython-311-aarch64-linux-gnu.so"
# The binding asks for a newer C++ library than Debian 12 has.
SUITE = "trixie"
LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1")
# What the binding is linked against; the first holds our stand-ins, the others are empty.
STAND_INS = ("libtorch_cpu.so", "libtorch.so", "libtorch_python.so", "libc10.so")
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class PteToolchain:
    """What running a .pte takes, unpacked and compiled."""

    qemu: Path
    root: Path
    programs: Path
    executorch_version: str


def prepare(cache_dir: Path | None = None, *, is_split: bool = False) -> PteToolchain:
    """Fetch and compile everything, or return what is already there.

    Args:
        cache_dir: Where it is kept; the user's cache folder by default.
        is_split: Whether the thread pool hands out its work in the smallest pieces that it may, as several threads
            would.

    Raises:
        ValueError: If a package cannot be had, or torch or ExecuTorch, whose headers are needed, is not installed.
    """
    cache = cache_folder(cache_dir)
    headers = [*_headers("torch"), *_headers("executorch")]
    host = packages.host_architecture()
    qemu = packages.fetch_debian(cache / f"qemu-{SUITE}-{host}", SUITE, host, ["qemu-user"], emulation.OTHER_QEMUS)
    libc = packages.fetch_debian(cache / f"libc-{SUITE}-arm64", SUITE, "arm64", LIBRARIES)
    version = _version()
    binding = packages.fetch_wheel(
        cache / f"executorch-{version}-aarch64", f"executorch=={version}", platform=AARCH64_WHEEL, members=BINDING
    )
    return PteToolchain(
        qemu=qemu / "usr/bin/qemu-aarch64",
        root=packages.once(cache / f"root-{SUITE}-1", lambda part: _make_root(part, libc)),
        programs=_compile(cache, binding / BINDING, headers, version, is_split),
        executorch_version=version,
    )


def run(model: Path, data: bytes, cpu: str = "cortex-a76", *, toolchain: PteToolchain | None = None) -> bytes:
    """Return the bytes of a model's output for those of its input.

    Raises:
        ValueError: If the core is unknown, the model is missing, or the run fails.
    """
    emulation.check_cpu(cpu)
    if not model.is_file():
        raise ValueError(f"no model {model}")
    tools = toolchain or prepare()
    with tempfile.TemporaryDirectory(prefix="edge_vit-pte-") as scratch:
        source, target = Path(scratch) / "input", Path(scratch) / "output"
        source.write_bytes(data)
        command = [str(tools.qemu), "-cpu", cpu, "-L", str(tools.root)]
        command += ["-E", f"LD_LIBRARY_PATH={tools.programs}:/usr/lib/aarch64-linux-gnu"]
        command += [str(tools.programs / "pte_runner"), str(model.resolve()), str(source), str(target)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, env={}
            )
        except subprocess.TimeoutExpired as e:
            raise ValueError(f"{model.name} did not finish within {TIMEOUT_S} s under emulation") from e
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if not line.startswith("[cpuinfo")]
            code = f"exit code {done.returncode}"
            raise ValueError(f"{model.name} failed under emulation of {cpu} ({code}): {' / '.join(said[-3:])}")
        return target.read_bytes()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("executorch")
    except PackageNotFoundError:
        return DEFAULT_VERSION


def _headers(package: str) -> list[str]:
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or []) if found else []:
        include = Path(folder) / "include"
        if include.is_dir():
            portable = include / "executorch/runtime/core/portable_type/c10"
            return [f"-I{path}" for path in (include, portable) if path.is_dir()]
    raise ValueError(f"running a .pte under emulation needs {package}'s headers; pip install 'edge_vit[executorch]'")


def _make_root(part: Path, libc: Path) -> None:
    for name in ("lib", "usr"):
        (part / name).symlink_to(libc / "usr" / ("lib" if name == "lib" else ""))


def _compile(cache: Path, binding: Path, headers: list[str], version: str, is_split: bool) -> Path:
    """Return the folder of the runner with all libraries beside it."""
    sources = [SOURCES / name for name in ("torch_stand_ins.c", "pte_runner.cpp")]
    parts = [path.read_bytes() for path in sources] + [version.encode(), packages.ZIG_VERSION.encode()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def fill(part: Path) -> None:
        shutil.copyfile(binding, part / binding.name)
        zig = str(runner_build.zig(cache))
        target = ["-target", runner_build.RUNNER_TARGET, "-O2", "-Wall", "-Wextra"]
        shared = [*target, "-shared", "-fPIC"]
        (part / "empty.c").write_text("")
        define = ["-DSPLIT"] if is_split else []
        commands = [["cc", *shared, *define, *headers, str(sources[0]), *_library(part, STAND_INS[0])]]
        commands += [["cc", *shared, str(part / "empty.c"), *_library(part, name)] for name in STAND_INS[1:]]
        # Neither exceptions nor type information: our C++ and the binding's do not share a library.
        plain = ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-w"]
        plain.append("-DC10_USING_CUSTOM_GENERATED_MACROS")
        made = str(part / "pte_runner.o")
        commands.append(["c++", *target, *plain, *headers, "-c", str(sources[1]), "-o", made])
        # The binding's functions of Python and torch stay unresolved until called, which they are not.
        link = [made, str(part / binding.name), "-Wl,--allow-shlib-undefined", "-o", str(part / "pte_runner")]
        commands.append(["cc", *target[:2], *link])
        folders = {"ZIG_GLOBAL_CACHE_DIR": str(cache / "zig-cache"), "ZIG_LOCAL_CACHE_DIR": str(part / "zig")}
        for command in commands:
            packages.call([zig, *command], "the runner of .pte files", environment=os.environ | folders)
        shutil.rmtree(part / "zig", ignore_errors=True)

    return packages.once(cache / f"pte_runner-{key}{'-split' if is_split else ''}", fill)


def _library(folder: Path, name: str) -> list[str]:
    return ["-o", str(folder / name), f"-Wl,-soname,{name}"]
