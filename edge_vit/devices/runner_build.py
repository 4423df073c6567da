"""Compile our C sources, and find the LiteRT library that the runner opens."""

import hashlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from edge_vit.devices import packages

RUNNER_SOURCE = Path(__file__).with_name("csrc") / "litert_runner.c"
# Older than the glibc of Debian 12 and Raspberry Pi OS 12; LiteRT's own library asks for as much.
RUNNER_TARGET = "aarch64-linux-gnu.2.34"
LIBRARY = "ai_edge_litert/libLiteRt.so"
AARCH64_WHEEL = "manylinux_2_27_aarch64"


def zig(cache_dir: Path) -> Path:
    """Return the compiler, a cross compiler for every target, from the PyPI package ziglang."""
    folder = packages.fetch_wheel(cache_dir / f"zig-{packages.ZIG_VERSION}", f"ziglang=={packages.ZIG_VERSION}")
    program = folder / "ziglang" / ("zig.exe" if os.name == "nt" else "zig")
    program.chmod(0o755)
    return program


def compile_c(cache_dir: Path, source: Path, target: str, flags: Sequence[str] = ()) -> Path:
    """Compile one of our C files and return the result, kept in the cache by what went into it.

    Args:
        cache_dir: The cache.
        source: The C file.
        target: zig's target triple.
        flags: Further compiler flags.
    """
    text = source.read_bytes()
    arguments = ["-target", target, "-O2", "-Wall", "-Wextra", *flags]
    key = hashlib.sha256(text + "\0".join([packages.ZIG_VERSION, *arguments]).encode()).hexdigest()[:16]
    name = source.stem

    def fill(part: Path) -> None:
        environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache_dir / "zig-cache"), "ZIG_LOCAL_CACHE_DIR": str(part / "zig")}
        command = [str(zig(cache_dir)), "cc", *arguments, str(source), "-o", str(part / name), "-ldl", "-lm"]
        packages.call(command, f"the compiled {source.name}", environment=os.environ | environment)
        shutil.rmtree(part / "zig", ignore_errors=True)

    return packages.once(cache_dir / f"{name}-{key}", fill) / name


def litert_version() -> str:
    """Return the version of the installed ai-edge-litert, so that both architectures run the same, or the default."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ai-edge-litert")
    except PackageNotFoundError:
        return packages.DEFAULT_LITERT_VERSION


def aarch64_library(cache_dir: Path, version: str) -> Path:
    """Return libLiteRt.so for aarch64 Linux, out of the published wheel."""
    folder = packages.fetch_wheel(
        cache_dir / f"litert-{version}-aarch64",
        f"ai-edge-litert=={version}",
        platform=AARCH64_WHEEL,
        members="libLiteRt.so$",
    )
    return folder / LIBRARY


class MissingLiteRTError(ValueError):
    """No LiteRT is installed on this machine."""


def local_library() -> Path:
    """Return libLiteRt.so of the ai-edge-litert that is installed here.

    Raises:
        MissingLiteRTError: If it is not installed.
    """
    found = importlib.util.find_spec("ai_edge_litert")
    for folder in (found.submodule_search_locations or []) if found else []:
        if (Path(folder) / "libLiteRt.so").exists():
            return Path(folder) / "libLiteRt.so"
    raise MissingLiteRTError("running on this machine needs LiteRT's library; pip install 'edge_vit[tflite]'")


def local_runner(cache_dir: Path) -> Path:
    """Return the runner compiled for this machine.

    Raises:
        ValueError: If this machine is no Linux.
    """
    if platform.system() != "Linux":
        raise ValueError(f"the runner is for Linux, this machine runs {platform.system()}")
    return compile_c(cache_dir, RUNNER_SOURCE, f"{platform.machine()}-linux-gnu.2.34")


def aarch64_runner(cache_dir: Path) -> Path:
    """Return the runner cross-compiled for aarch64 Linux."""
    return compile_c(cache_dir, RUNNER_SOURCE, RUNNER_TARGET)
