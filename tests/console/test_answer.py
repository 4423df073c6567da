"""However a command's streams are broken and however it is interrupted: one line, one code, no traceback."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from edge_vit.console.answer import Answer, answer


def script(body: str) -> list[str]:
    """Return the command line of a program whose body is the given lines."""
    code = "import argparse, os, sys, time\nfrom edge_vit.console.answer import Answer, answer\ndef body():\n"
    code += textwrap.indent(textwrap.dedent(body).strip(), "    ")
    code += "\nraise SystemExit(answer(body, interrupted='interrupted; nothing was written'))\n"
    return [sys.executable, "-c", code]


def shell(body: str, redirections: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the program in a shell with redirections or a pipe; $? of the program itself is the last line of stderr."""
    line = f'{{ "$@"; echo "code $?" >&2; }} {redirections}'
    if not redirections.startswith("|"):
        line = f'"$@" {redirections}; echo "code $?" >&2'
    return subprocess.run(
        ["bash", "-c", line, "bash", *script(body)],
        capture_output=True,
        text=True,
        env=os.environ | PLAIN | environment,
        timeout=60,
    )


SWALLOW = "print('ready', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:"
MANY = "return Answer(text='\\n'.join(f'line {i}' for i in range(20000)), code=3)"
# An unbuffered stdout would fail inside argparse, which says nothing then.
PLAIN = {"PYTHONUNBUFFERED": ""}
FEW = "return Answer(text='one line')"


@pytest.mark.parametrize(
    ("body", "redirections", "said"),
    [
        (MANY, "| head -1", "code 3\n"),
        (MANY, "| true", "code 3\n"),
        (FEW, "| true", "code 0\n"),
        (FEW, "> /dev/full", "error: cannot write to stdout: No space left on device\ncode 1\n"),
        (MANY, "> /dev/full", "error: cannot write to stdout: No space left on device\ncode 3\n"),
        (FEW, ">&-", "error: stdout is closed, so the result could not be printed\ncode 1\n"),
        (FEW, "2>&-", ""),
        (FEW, "", "code 0\n"),
        ("argparse.ArgumentParser(prog='p').parse_args(['--help'])", "| true", "code 0\n"),
        ("argparse.ArgumentParser(prog='p').parse_args(['--help'])", "> /dev/full", "code 1\n"),
        ("argparse.ArgumentParser(prog='p', usage='u').parse_args(['-x'])", "| true", "code 2\n"),
        ("raise ValueError('got, allowed, fix')", "", "error: got, allowed, fix\ncode 2\n"),
        ("raise ImportError('install it')", "", "error: install it\ncode 2\n"),
        ("raise RuntimeError('it failed')", "", "error: it failed\ncode 1\n"),
        ("open('/gone/away')", "", "error: [Errno 2] No such file or directory: '/gone/away'\ncode 1\n"),
    ],
)  # fmt: skip
def test_streams(body: str, redirections: str, said: str) -> None:
    done = shell(body, redirections)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert done.stderr.endswith(said), done.stderr


def test_a_name_that_the_terminal_cannot_show_is_escaped() -> None:
    done = shell("return Answer(text='caf\\u00e9', remarks=('\\u00fcber',))", "", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.stdout == "caf\\xe9\n" and done.stderr == "\\xfcber\ncode 0\n"


def test_a_closed_stdout_never_lets_prints_into_a_file(tmp_path) -> None:
    body = f"""
        with open({str(tmp_path / "artefact")!r}, "wb") as file:
            os.write(1, b"what a tool prints")
            file.write(b"weights")
        return Answer(text="done")
    """
    shell(body, ">&-")
    assert (tmp_path / "artefact").read_bytes() == b"weights"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "body",
    [
        "print('ready', flush=True); time.sleep(60)",
        # While modules load: what an import makes of the interrupt does not matter.
        f"{SWALLOW}\n    raise ImportError('half')",
        f"{SWALLOW}\n    sys.exit(0)",
    ],
)
def test_interrupts(body: str, number: int) -> None:
    command = ["env", "--default-signal=INT", *script(body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == "interrupted; nothing was written\n"


def test_remarks_come_before_the_text_and_codes_pass(capsys: pytest.CaptureFixture) -> None:
    assert answer(lambda: Answer(text="result", code=1, remarks=("remark",)), interrupted="") == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("result\n", "remark\n")
