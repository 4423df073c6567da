"""Environments of their own for real clients that cannot live beside our packages; kept in the cache folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from converters.onnx2tf.environment import RECIPE


def python_with(*requirements: str, version: tuple[int, int] = (3, 11)) -> Path:
    """Return a Python of `version` that has the requirements, made on first use; skip where it cannot be made."""
    name = "-".join(requirement.replace("==", "-").replace("<", "-below-") for requirement in requirements)
    folder = RECIPE.folder.parent / f"test-{version[0]}.{version[1]}-{name}"
    python = folder / "bin" / "python"
    if python.exists():
        return python
    base = _base(version)
    if base is None:
        pytest.skip(f"needs CPython {version[0]}.{version[1]}, which is not on this machine")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        subprocess.run([base, "-m", "venv", staging], check=True, capture_output=True)
        pip = [staging / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *requirements], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        if not folder.exists():
            os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return python


def _base(version: tuple[int, int]) -> str | None:
    if sys.version_info[:2] == version:
        return sys.executable
    name = f"python{version[0]}.{version[1]}"
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    known = [str(path) for path in root.glob(f"versions/{name.removeprefix('python')}.*/bin/python")]
    return next(iter(known), None) or shutil.which(name)
