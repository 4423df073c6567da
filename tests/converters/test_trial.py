"""A crash in native code is told by the name of its signal; anything else is none."""

import os
import signal
import subprocess
import sys
import time

import pytest

from converters import trial


def test_a_crash_is_named() -> None:
    assert trial.crash_of(os.abort) == "SIGABRT"
    assert trial.crash_of(lambda: os.kill(os.getpid(), signal.SIGSEGV)) == "SIGSEGV"


def test_success_and_exceptions_are_no_crash(capfd: pytest.CaptureFixture) -> None:
    assert trial.crash_of(lambda: print("not heard", flush=True)) == ""
    assert trial.crash_of(lambda: 1 / 0) == ""
    assert capfd.readouterr() == ("", "")


def test_a_copy_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "PATIENCE_S", 0.1)
    started = time.monotonic()
    assert trial.crash_of(lambda: time.sleep(60)) == ""
    assert time.monotonic() - started < 30


def test_what_a_package_says_of_copied_processes_is_not_heard() -> None:
    """JAX warns of every fork once it is loaded, as it is where a .tflite was lowered before a .pte is tried."""
    code = (
        "import os, warnings; "
        "os.register_at_fork(before=lambda: warnings.warn('fork() was called', RuntimeWarning)); "
        "from converters.trial import crash_of; print(repr(crash_of(lambda: None)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("''\n", "")
