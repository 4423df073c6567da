"""Compile a .tflite ahead of time for phones' NPUs, with LiteRT's own plugins and the vendors' compilers."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from converters.manifest import NpuFile, describe_file
from converters.tflite.chips import Vendor

_WORKER = Path(__file__).with_name("ahead_worker.py")


def check_compiler(vendor: Vendor) -> str:
    """Return the folder that the vendor's setting names, "" where its package is installed; nothing is loaded.

    Raises:
        ImportError: If neither is there; the message names both.
        ValueError: If the setting names no folder of libraries.
    """
    named = os.environ.get(vendor.setting, "") if vendor.setting else ""
    if named:
        if not any(Path(named).glob("libQnnHtp.*")):
            raise ValueError(f"{vendor.setting}={named} has no libQnnHtp.so; name the SDK's lib/x86_64-linux-clang")
        return named
    if importlib.util.find_spec(vendor.module) is None:
        other = f", or set {vendor.setting} to a folder of its libraries" if vendor.setting else ""
        raise ImportError(
            f"compiling for {vendor.title}'s NPUs needs its compiler; run: pip install {vendor.package}{other}",
            name=vendor.module,
        )
    return ""


def compile_ahead(path: Path, chips: Sequence[tuple[Vendor, str]]) -> tuple[list[tuple[Path, NpuFile]], Path | None]:
    """Compile a file for chips, each into a file beside it; for several also into an AI pack for the Play store.

    A compiled file runs on its chip alone. The pack is a folder: Play gives each phone the file for its chip, and the
    portable one to all others.

    Raises:
        ImportError: If a vendor's compiler is missing.
        RuntimeError: If a compiler fails; the message says what it said.
    """
    folders = {vendor.name: check_compiler(vendor) for vendor, _ in chips}
    libraries = next((folder for folder in folders.values() if folder), "")
    pack = path.parent / f"{path.stem}_ai_pack" if len(chips) > 1 else None
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".compiled-") as output:
        return _compile(path, chips, libraries, output, pack), pack


def _compile(
    path: Path, chips: Sequence[tuple[Vendor, str]], libraries: str, output: str, pack: Path | None
) -> list[tuple[Path, NpuFile]]:
    words = [libraries or "-", str(path), output, str(pack or "-")]
    words += [f"{vendor.name}:{chip}" for vendor, chip in chips]
    search = os.pathsep.join(filter(None, (libraries, os.environ.get("LD_LIBRARY_PATH", ""))))
    done = subprocess.run(
        [sys.executable, "-I", str(_WORKER), *words],
        capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": search},
    )  # fmt: skip
    if done.returncode or not done.stdout.strip():
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise RuntimeError(f"compiling {path.name} ahead of time failed: {said[-1][:300]}")
    told = json.loads(done.stdout.splitlines()[-1])
    if told["failed"]:
        target, reason = told["failed"][0]
        raise RuntimeError(f"compiling {path.name} for {target} failed: {reason.splitlines()[0][:300]}")
    made = []
    for (vendor, chip), one in zip(chips, told["compiled"], strict=True):
        final = path.with_name(f"{path.stem}_{chip.lower()}.tflite")
        os.replace(one["path"], final)
        offloaded, total, partitions = (sum(column) for column in zip(*one["stats"], strict=True))
        made.append(
            (
                final,
                NpuFile(
                    chip=chip, vendor=vendor.title, file=describe_file(final), offloaded=offloaded, total=total,
                    partitions=partitions,
                ),
            )
        )  # fmt: skip
    return made
