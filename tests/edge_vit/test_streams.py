"""Every command, whatever becomes of its streams: its own exit code, at most one line of error, never a traceback."""

import os
import subprocess
import sys

import pytest

from edge_vit.__main__ import COMMANDS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def shell(command: str, words: str, redirections: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a command in a shell; its exit code is the last line of stderr."""
    call = f"{sys.executable} -m {command} {words}"
    inside = (
        f"{{ {call}; echo $? >&2; }} {redirections}" if "|" in redirections else f"{call} {redirections}; echo $? >&2"
    )
    plain = os.environ | {"PYTHONUNBUFFERED": ""} | environment
    return subprocess.run(["bash", "-c", inside], capture_output=True, text=True, cwd=ROOT, env=plain, timeout=120)


MODULES = ["edge_vit", *(f"edge_vit.{name}" for name in COMMANDS)]


@pytest.mark.parametrize("command", MODULES)
@pytest.mark.parametrize(
    ("redirections", "said"),
    [
        ("| true", "0\n"),
        ("| head -1", "0\n"),
        ("> /dev/full", "error: cannot write to stdout: No space left on device\n1\n"),
    ],
)
def test_help(command: str, redirections: str, said: str) -> None:
    assert shell(command, "--help", redirections).stderr == said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("edge_vit.classify", "caf\u00e9.tflite p.png"),
        ("edge_vit.accuracy", "caf\u00e9.tflite --data x"),
        ("edge_vit.convert", "levit_128s --target tflite --weights caf\u00e9.pt"),
        ("edge_vit.bench_arm", "caf\u00e9.tflite --local"),
    ],
)
@pytest.mark.parametrize("redirections", ["", ">&-", "> /dev/full"])
def test_a_name_that_an_ascii_terminal_cannot_show(command: str, words: str, redirections: str) -> None:
    done = shell(command, words, redirections, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    *lines, code = done.stderr.splitlines()
    assert code == "2" and len(lines) == 1 and lines[0].startswith("error: ") and "caf\\" in lines[0], done.stderr
