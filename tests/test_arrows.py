"""The floors of the house hold: imports point downwards only (ARCHITECTURE.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edge_vit.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent
OURS = ("edge_vit", "converters", "calibration")

# The house's floors, from the ground up: a package imports packages of lower floors only.
FLOORS = (
    ("edge_vit.layers", "edge_vit.console", "edge_vit.reports", "converters", "calibration"),
    ("edge_vit.models", "edge_vit.devices"),
    ("edge_vit.emulation",),
    ("edge_vit.evaluation",),
    ("edge_vit.quantization",),
    ("edge_vit.training", "edge_vit.deployment", "edge_vit.findings"),
    ("edge_vit.api",),
    ("edge_vit",),  # the commands
)
FLOOR_OF = {package: number for number, packages in enumerate(FLOORS) for package in packages}
HEAVY = (
    "torch",
    "numpy",
    "PIL",
    "litert_torch",
    "executorch",
    "coremltools",
    "ai_edge_litert",
    "torchao",
    "jinja2",
    "vl_convert",
)


def modules():
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield path, ".".join(part for part in parts if part != "__init__")


def imports(path, top_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def is_within(name, package):
    return name == package or name.startswith(package + ".")


def floor_package(name):
    return max((package for package in FLOOR_OF if is_within(name, package)), key=len)


@pytest.mark.parametrize(("path", "module"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(path, module):
    home = floor_package(module)
    for name in imports(path):
        if not name.startswith(OURS) or (is_within(name, home) and home != "edge_vit"):
            continue
        other = floor_package(name)
        assert FLOOR_OF[other] < FLOOR_OF[home] or other == home, f"{module} imports {name}, which is not below it"


def test_layers_import_torch_only():
    for path in sorted((ROOT / "edge_vit" / "layers").rglob("*.py")):
        foreign = {name.partition(".")[0] for name in imports(path)} - {"torch", "edge_vit", *sys.stdlib_module_names}
        assert not foreign, f"{path}: {foreign}"


@pytest.mark.parametrize("module", ["edge_vit", "edge_vit.__main__", *(module for module, _ in COMMANDS.values())])
def test_commands_start_light(module):
    """Importing a command, which is all that --help needs, loads no runtime, no torch, no numpy and no Pillow."""
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_nothing(command):
    done = subprocess.run(
        [sys.executable, "-m", f"edge_vit.{command}", "--help"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0 and "usage" in done.stdout.lower() and not done.stderr


@pytest.mark.parametrize("module", [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in sorted((ROOT / "edge_vit").rglob("*.py")) if "\ndef main(" in path.read_text(encoding="utf-8")
])  # fmt: skip
def test_help_needs_nothing_that_windows_lacks(module):
    code = (
        "import runpy, sys\n"
        "for name in ('fcntl', 'resource', 'termios', 'pty', 'pwd', 'grp'): sys.modules[name] = None\n"
        f"sys.argv = ['{module}', '--help']\n"
        f"runpy.run_module('{module}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and "usage" in done.stdout.lower() and not done.stderr, done.stderr
