"""Where onnx2tf's environment comes from, and what is said when it cannot be had."""

import os
import sys
from pathlib import Path

import pytest

from converters import environment as environments
from converters.environment import find_environment, find_python, make_environment
from converters.onnx2tf.environment import RECIPE, VERSION


def _program(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


def test_setting_that_is_no_such_python_is_refused(monkeypatch, tmp_path):
    for python in (sys.executable, str(tmp_path / "none")):  # this one has no onnx2tf
        monkeypatch.setenv("EDGE_VIT_ONNX2TF", python)
        with pytest.raises(ImportError, match=f"EDGE_VIT_ONNX2TF={python} is no python that has onnx2tf {VERSION}"):
            find_environment(RECIPE)


def test_another_version_is_refused(monkeypatch, tmp_path):
    python = _program(tmp_path / "python", """echo '{"onnx2tf": "1.0.0", "python": "3.12.0"}'""")
    monkeypatch.setenv("EDGE_VIT_ONNX2TF", str(python))
    with pytest.raises(ImportError, match=f"no python that has onnx2tf {VERSION}"):
        find_environment(RECIPE)


def test_setting_is_taken_with_its_versions(monkeypatch, tmp_path):
    python = _program(tmp_path / "python", f"""echo '{{"onnx2tf": "{VERSION}", "onnx": "1.2"}}'""")
    monkeypatch.setenv("EDGE_VIT_ONNX2TF", str(python))
    found = find_environment(RECIPE)
    assert found.python == python and found.versions == {"onnx2tf": VERSION, "onnx": "1.2"}


def test_folder_follows_the_cache_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path))
    assert RECIPE.folder == tmp_path / f"onnx2tf-{VERSION}"
    monkeypatch.delenv("EDGE_VIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert RECIPE.folder == Path(f"/home/someone/.cache/edge_vit/onnx2tf-{VERSION}")


def test_python_is_found_on_the_path_and_with_pyenv_but_must_run(monkeypatch, tmp_path):
    broken = _program(tmp_path / "bin" / "python3.12", "echo 'not switched on' >&2", "exit 127")
    monkeypatch.setenv("PATH", f"{broken.parent}{os.pathsep}/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(environments.sys, "executable", sys.executable)
    if sys.version_info[:2] not in RECIPE.pythons:
        assert find_python(RECIPE.pythons) is None
        old = _program(tmp_path / "pyenv/versions/3.12.0/bin/python", "echo 3 9")
        assert find_python(RECIPE.pythons) is None, f"{old} says that it is 3.9"
        good = _program(tmp_path / "pyenv/versions/3.13.1/bin/python", "echo 3 13")
        assert find_python(RECIPE.pythons) == good


def test_no_fitting_python_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGE_VIT_ONNX2TF", raising=False)
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path))
    monkeypatch.setattr(environments, "find_python", lambda pythons: None)
    with pytest.raises(
        ImportError, match=r"needs a Python 3\.12 or 3\.13 and none was found; install one, or set EDGE"
    ):
        find_environment(RECIPE)
    assert not any(tmp_path.iterdir())


def test_failed_install_leaves_nothing_and_tells_pips_reason(monkeypatch, tmp_path):
    pip = "printf '#!/bin/sh\\necho ERROR: no matching distribution >&2\\nexit 1\\n'"
    base = _program(tmp_path / "base", 'mkdir -p "$3/bin"', f'{pip} > "$3/bin/python"', 'chmod +x "$3/bin/python"')
    monkeypatch.setattr(environments, "find_python", lambda pythons: base)
    with pytest.raises(ImportError, match=r"installing onnx2tf .* failed .ERROR: no matching distribution.; set EDGE"):
        make_environment(RECIPE, tmp_path / "cache" / "env")
    assert not any((tmp_path / "cache").iterdir())


def test_failed_venv_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(
        environments, "find_python", lambda pythons: _program(tmp_path / "base", "echo no ensurepip >&2; exit 1")
    )
    with pytest.raises(ImportError, match=r"making the environment failed .no ensurepip."):
        make_environment(RECIPE, tmp_path / "cache" / "env")
    assert not any((tmp_path / "cache").iterdir())


def test_onnx2tf_that_does_not_load_after_installing_is_said(monkeypatch, tmp_path):
    python = "printf '#!/bin/sh\\ncase \"$3\" in pip) exit 0;; esac\\nexit 1\\n'"
    base = _program(tmp_path / "base", 'mkdir -p "$3/bin"', f'{python} > "$3/bin/python"', 'chmod +x "$3/bin/python"')
    monkeypatch.setattr(environments, "find_python", lambda pythons: base)
    with pytest.raises(ImportError, match="was installed but does not load; set EDGE"):
        make_environment(RECIPE, tmp_path / "cache" / "env")


def test_cache_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "find_python", lambda pythons: Path(sys.executable))
    (tmp_path / "file").touch()
    with pytest.raises(ImportError, match=r"cannot write to .*file \(.*\); set EDGE_VIT_CACHE, or set EDGE"):
        make_environment(RECIPE, tmp_path / "file" / "env")


def test_damaged_environment_names_its_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGE_VIT_ONNX2TF", raising=False)
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path))
    _program(RECIPE.folder / "bin" / "python", "exit 1")
    with pytest.raises(ImportError, match=f"onnx2tf-{VERSION} is damaged: its onnx2tf does not load; remove this"):
        find_environment(RECIPE)
