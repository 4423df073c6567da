"""Environments that tools run in which pin versions that nothing else here can use, or bring libraries of their own.

A setting names a python that has the tool. Without it an environment is made on first use, in the project's cache
folder.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a tool's environment is made.

    Attributes:
        name: The tool's distribution, and `version`.
        module: What is imported to see that it works.
        requirements: What pip installs.
        reported: Distributions whose versions are told.
        pythons: Versions of CPython that it takes.
        setting: The environment variable that names a python that has it.
        cost: What making it takes, in words.
        otherwise: What else a user can do, behind "or"; "" for nothing.
    """

    name: str
    version: str
    module: str
    requirements: tuple[str, ...]
    reported: tuple[str, ...]
    pythons: tuple[tuple[int, int], ...]
    setting: str
    cost: str
    otherwise: str = ""

    @property
    def folder(self) -> Path:
        """Where the environment lies, or would lie."""
        return cache_folder() / f"{self.name}-{self.version}"

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def remedy(self) -> str:
        named = f"set {self.setting} to a python that has {self.title}"
        return f"{named}, or {self.otherwise}" if self.otherwise else named


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A python that has the tool, and what else it has."""

    python: Path
    versions: dict[str, str]


def find_environment(recipe: Recipe) -> Environment:
    """Return the environment that the setting names, or our own, which is made if it is not there yet.

    Raises:
        ImportError: If it cannot be had; the message says what to do.
    """
    named = os.environ.get(recipe.setting)
    if named:
        versions = _probe(recipe, Path(named))
        if versions is None:
            raise ImportError(f"{recipe.setting}={named} is no python that has {recipe.title}; {recipe.remedy}")
        return Environment(python=Path(named), versions=versions)
    folder = recipe.folder
    python = _python_of(folder)
    if not python.exists():
        make_environment(recipe, folder)
    versions = _probe(recipe, python)
    if versions is None:
        raise ImportError(f"{folder} is damaged: its {recipe.name} does not load; remove this folder and try again")
    return Environment(python=python, versions=versions)


def make_environment(recipe: Recipe, folder: Path) -> None:
    """Make the environment; `folder` appears when all is installed.

    Raises:
        ImportError: If no fitting Python is found, or the packages cannot be installed.
    """
    base = find_python(recipe.pythons)
    if base is None:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in recipe.pythons)
        raise ImportError(f"{recipe.title} needs a Python {wanted} and none was found; install one, or {recipe.remedy}")
    print(f"making {folder} for {recipe.title}, once ({recipe.cost})", file=sys.stderr, flush=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as e:
        raise ImportError(
            f"cannot write to {folder.parent} ({e.strerror}); set EDGE_VIT_CACHE, or {recipe.remedy}"
        ) from e
    try:
        _run(recipe, [str(base), "-m", "venv", str(staging)], "making the environment")
        pip = [str(_python_of(staging)), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run(recipe, [*pip, *recipe.requirements], f"installing {recipe.title}")
        if _probe(recipe, _python_of(staging)) is None:
            raise ImportError(f"{recipe.title} was installed but does not load; {recipe.remedy}")
        if not folder.exists():  # else another run was faster
            os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def find_python(pythons: tuple[tuple[int, int], ...]) -> Path | None:
    """Return a Python of one of these versions: this one, one on the path, or one of pyenv's."""
    for python in _candidates(pythons):
        try:
            done = subprocess.run(
                [str(python), "-I", "-c", "import sys, venv; print(*sys.version_info[:2])"],
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        # pyenv's commands stand on the path for versions that are not switched on, and fail.
        if done.returncode == 0 and tuple(map(int, done.stdout.split())) in pythons:
            return python
    return None


def _candidates(pythons: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    yield Path(sys.executable)
    names = [f"python{major}.{minor}" for major, minor in pythons]
    for name in names:
        if found := shutil.which(name):
            yield Path(found)
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    for name in names:
        yield from sorted(root.glob(f"versions/{name.removeprefix('python')}.*/bin/python"))


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _probe(recipe: Recipe, python: Path) -> dict[str, str] | None:
    """Return the versions of an environment's packages, None if it has no such tool of this version."""
    script = (
        f"import importlib.metadata as m, json, sys; import {recipe.module}; "
        f"print(json.dumps({{n: m.version(n) for n in {recipe.reported!r}}} "
        "| {'python': '%d.%d.%d' % sys.version_info[:3]}))"
    )
    try:
        done = subprocess.run([str(python), "-I", "-c", script], capture_output=True, text=True, timeout=300)
        # A library may print on loading; the answer comes last.
        versions = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None
    return versions if versions.get(recipe.name) == recipe.version else None


def _run(recipe: Recipe, command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "no message")
        raise ImportError(f"{what} failed ({reason.strip()[:300]}); {recipe.remedy}")
