"""One Ctrl-C ends a program, also one whose tools swallow KeyboardInterrupt."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from edge_vit.console import interrupt

SWALLOWS = """
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except KeyboardInterrupt:
            pass
"""
TURNS_IT_INTO_AN_ERROR = """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise SystemExit(7 if heed.was_pressed else 8)
"""
LETS_IT_PASS = """
    time.sleep(60)
"""


def press_once(tmp_path, body, number=signal.SIGINT):
    """Run `body` inside the guard, send it one signal; return exit code, stderr and the seconds it took to end."""
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from edge_vit.console.interrupt import heeded

        def clean_up():
            Path(sys.argv[1], "cleaned").touch()

        end = time.monotonic() + 60
        with heeded(clean_up, "last words") as heed:
            print("ready", flush=True)
    """) + textwrap.indent(textwrap.dedent(body), "    ")
    command = ["env", "--default-signal=INT", sys.executable, "-c", script, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(number)
        started = time.monotonic()
        code = process.wait(timeout=50)
        return code, process.stderr.read(), time.monotonic() - started


SILENCES_STDERR = (
    """
    import os
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
"""
    + SWALLOWS
)


def test_last_words_are_heard_while_a_tool_is_silenced(tmp_path):
    code, said, _ = press_once(tmp_path, SILENCES_STDERR)
    assert code == 130 and said == "last words\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_swallowed_interrupt_still_ends_the_program(tmp_path, number):
    code, said, seconds = press_once(tmp_path, SWALLOWS, number)
    assert code == 130 and "last words" in said and (tmp_path / "cleaned").exists()
    assert seconds >= interrupt.PATIENCE_S - 0.5


def test_interrupt_that_became_an_error_is_known(tmp_path):
    code, said, _ = press_once(tmp_path, TURNS_IT_INTO_AN_ERROR)
    assert code == 7 and "last words" not in said and not (tmp_path / "cleaned").exists()


def test_interrupt_that_passes_is_an_ordinary_one(tmp_path):
    code, said, _ = press_once(tmp_path, LETS_IT_PASS)
    assert "KeyboardInterrupt" in said and code in (130, -signal.SIGINT) and not (tmp_path / "cleaned").exists()


def test_handlers_are_put_back():
    before, others = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with interrupt.heeded(lambda: None, "") as heed:
            assert not heed.was_pressed and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is before and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, others)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.heeded(lambda: None, ""):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "an ignored interrupt stays ignored"
    finally:
        signal.signal(signal.SIGINT, before)
