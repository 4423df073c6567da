"""Every command has a name in one list, and completion knows them all."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import edge_vit
from edge_vit.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]


def test_the_list_holds_every_command():
    modules = {path.stem for path in (ROOT / "edge_vit").glob("*.py")} - {"__init__", "__main__", "api"}
    assert set(COMMANDS) == modules | {"models"}
    for module, line in COMMANDS.values():
        assert callable(importlib.import_module(module).main) and line and "\n" not in line


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_it_lists_the_commands_and_says_how_to_complete_them(words):
    done = subprocess.run([sys.executable, "-m", "edge_vit", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and not done.stderr
    for name, (_, line) in COMMANDS.items():
        assert any(shown.split(maxsplit=1) == [name, line] for shown in done.stdout.splitlines())
    assert "edge-vit --print-completion bash" in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0 and capsys.readouterr().out == f"edge_vit {edge_vit.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convrt", "levit_128s"], "unknown command 'convrt'; did you mean convert?"),
        (["bench-arm"], "unknown command 'bench-arm'; did you mean bench_arm?"),
        (["xyzzy"], f"unknown command 'xyzzy'; choose from {', '.join(COMMANDS)}"),
    ],
)
def test_an_unknown_command_is_one_line_and_exit_2(words, message, capsys):
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_words_after_the_name_are_the_commands(capsys):
    assert main(["models", "levit_12"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown model 'levit_12'; did you mean")
    with pytest.raises(SystemExit) as stopped:
        main(["convert", "--help"])
    assert stopped.value.code == 0 and "--target TARGET" in capsys.readouterr().out


def test_the_console_script_is_this():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, _, function = scripts["edge-vit"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


def test_missing_shtab_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert capsys.readouterr() == ("", "error: completion needs shtab; pip install 'edge_vit[completion]'\n")


def test_unknown_shell_is_one_line(capsys):
    pytest.importorskip("shtab")
    assert main(["--print-completion", "ksh"]) == 2
    assert capsys.readouterr().err.startswith("error: no completion for 'ksh'; choose from bash, zsh, ")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["co"], ["convert"]),
        (["convert", "levit_1"], ["levit_128s", "levit_128", "levit_192"]),
        (["convert", "levit_128s", "--tar"], ["--target"]),
        (["convert", "levit_128s", "--target", "t"], ["tflite"]),
        (["convert", "levit_128s", "--calib-method", "p"], ["percentile"]),
        (["models", "levit_192", "levit_2"], ["levit_256"]),
        (["accuracy", "FOLDER/a"], ["FOLDER/a.tflite"]),
    ],
)
def test_bash_completes(words, completed, tmp_path, capsys):
    pytest.importorskip("shtab")
    assert main(["--print-completion", "bash"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "a.tflite").touch()
    words, completed = ([text.replace("FOLDER", str(tmp_path)) for text in texts] for texts in (words, completed))
    ask = 'source "$1"; shift; COMP_WORDS=(edge-vit "$@"); COMP_CWORD=$#; _shtab_edge_vit; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", ask, "bash", str(script), *words], capture_output=True, text=True)
    assert done.stdout.split() == completed, done.stderr
