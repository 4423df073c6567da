"""The environment that onnx2tf runs in: its own, because it pins versions that nothing else here can use.

EDGE_VIT_ONNX2TF names a python that has onnx2tf. Without it an environment is made on first use, in the user's cache
folder, from a Python that onnx2tf knows; it takes 0.7 GB and some minutes.
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

VERSION = "2.6.9"
SETTING = "EDGE_VIT_ONNX2TF"
# onnx2tf asks for 3.12 or later; what it pins has no wheels beyond 3.13.
PYTHONS = ((3, 12), (3, 13))
# onnx2tf pins what it names; the rest is what pip chose beside them when this was run.
REQUIREMENTS = (
    f"onnx2tf=={VERSION}", "backports.strenum==1.2.8", "iniconfig==2.3.1", "markdown-it-py==4.3.0", "mdurl==0.1.2",
    "mpmath==1.3.0", "onnx-ir==1.1.0", "packaging==26.3", "pluggy==1.7.0", "Pygments==2.21.0", "rich==15.0.0",
    "sympy==1.14.0", "typing_extensions==4.16.0",
)  # fmt: skip
_REPORTED = ("onnx2tf", "onnx", "onnxsim", "numpy", "flatbuffers")
_PROBE = (
    "import importlib.metadata as m, json, sys; import onnx2tf; "
    f"print(json.dumps({{n: m.version(n) for n in {_REPORTED!r}}} | {{'python': '%d.%d.%d' % sys.version_info[:3]}}))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A python that has onnx2tf, and what else it has."""

    python: Path
    versions: dict[str, str]


def find_environment() -> Environment:
    """Return the environment that the setting names, or our own, which is made if it is not there yet.

    Raises:
        ImportError: If it cannot be had; the message says what to do.
    """
    named = os.environ.get(SETTING)
    if named:
        versions = _probe(Path(named))
        if versions is None:
            raise ImportError(f"{SETTING}={named} is no python that has onnx2tf {VERSION}; {_remedy()}")
        return Environment(python=Path(named), versions=versions)
    folder = environment_folder()
    python = _python_of(folder)
    if not python.exists():
        make_environment(folder)
    versions = _probe(python)
    if versions is None:
        raise ImportError(f"{folder} is damaged: its onnx2tf does not load; remove this folder and try again")
    return Environment(python=python, versions=versions)


def environment_folder() -> Path:
    """Return where our environment lies, or would lie."""
    return cache_folder() / f"onnx2tf-{VERSION}"


def make_environment(folder: Path) -> None:
    """Make the environment; `folder` appears when all is installed.

    Raises:
        ImportError: If no fitting Python is found, or the packages cannot be installed.
    """
    base = find_python()
    if base is None:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        raise ImportError(f"onnx2tf {VERSION} needs a Python {wanted} and none was found; install one, or {_remedy()}")
    print(f"making {folder} for onnx2tf {VERSION}, once (0.7 GB, some minutes)", file=sys.stderr, flush=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as e:
        raise ImportError(f"cannot write to {folder.parent} ({e.strerror}); set EDGE_VIT_CACHE, or {_remedy()}") from e
    try:
        _run([str(base), "-m", "venv", str(staging)], "making the environment")
        pip = [str(_python_of(staging)), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *REQUIREMENTS], f"installing onnx2tf {VERSION}")
        if _probe(_python_of(staging)) is None:
            raise ImportError(f"onnx2tf {VERSION} was installed but does not load; {_remedy()}")
        if not folder.exists():  # else another run was faster
            os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def find_python() -> Path | None:
    """Return a Python of a version in `PYTHONS`: this one, one on the path, or one of pyenv's."""
    for python in _candidates():
        try:
            done = subprocess.run(
                [str(python), "-I", "-c", "import sys, venv; print(*sys.version_info[:2])"],
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        # pyenv's commands stand on the path for versions that are not switched on, and fail.
        if done.returncode == 0 and tuple(map(int, done.stdout.split())) in PYTHONS:
            return python
    return None


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    names = [f"python{major}.{minor}" for major, minor in PYTHONS]
    for name in names:
        if found := shutil.which(name):
            yield Path(found)
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    for name in names:
        yield from sorted(root.glob(f"versions/{name.removeprefix('python')}.*/bin/python"))


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _probe(python: Path) -> dict[str, str] | None:
    """Return the versions of an environment's packages, None if it has no onnx2tf of ours."""
    try:
        done = subprocess.run([str(python), "-I", "-c", _PROBE], capture_output=True, text=True, timeout=300)
        versions = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return versions if versions.get("onnx2tf") == VERSION else None


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "no message")
        raise ImportError(f"{what} failed ({reason.strip()[:300]}); {_remedy()}")


def _remedy() -> str:
    return f"set {SETTING} to a python that has onnx2tf {VERSION}, or leave --backend out to convert with litert-torch"
