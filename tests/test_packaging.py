"""What a wheel holds: every package and every file that they read beside their modules."""

import fnmatch
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("edge_vit", "converters", "calibration")


def files():
    found = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*")) if path.is_file())
    return [path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts]


@pytest.mark.parametrize("path", [path for path in files() if path.suffix not in (".py", ".pyc")], ids=str)
def test_files_beside_modules_are_package_data(path):
    if path == Path("calibration/README.md"):
        pytest.skip("for readers of the repository")
    data = SETTINGS["tool"]["setuptools"]["package-data"]
    patterns = [f"{package.replace('.', '/')}/{pattern}" for package, given in data.items() for pattern in given]
    assert any(fnmatch.fnmatch(path.as_posix(), pattern) for pattern in patterns)


def test_every_folder_of_modules_is_a_package():
    for folder in {path.parent for path in files() if path.suffix == ".py"}:
        assert (ROOT / folder / "__init__.py").is_file(), f"{folder} is left out of a wheel"


def test_extras_have_lower_bounds_and_constraints_alone_pin():
    project = SETTINGS["project"]
    given = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    assert all(">=" in line and "==" not in line for line in given)


def test_constraints_lie_within_the_ranges():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["torch==2.13.0"]
    assert any(line.startswith("torch>=2.13,") for line in SETTINGS["project"]["dependencies"])
