"""Run a command's body and end as every command ends: an answer on stdout, faults in one line, an exit code."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from edge_vit.console.interrupt import EXIT_CODE, heeded


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a command has to say.

    Attributes:
        text: For stdout, without the last line feed; "" prints nothing.
        code: 0, or 1 for a failed check.
        remarks: Lines for stderr, before the text.
    """

    text: str = ""
    code: int = 0
    remarks: tuple[str, ...] = ()


def answer(
    body: Callable[[], Answer],
    *,
    interrupted: str,
    clean_up: Callable[[], None] = lambda: None,
    is_forced: bool = True,
) -> int:
    """Return the exit code of a command after printing what its body answers.

    2: misuse (ValueError, ImportError). 1: a fault or a failed check (RuntimeError, OSError, a stdout that takes
    nothing). 130: an interrupt. A reader that has seen enough (`| head -1`) is no fault: the code is the body's.

    Args:
        body: Parses the command line and does the work; argparse may raise SystemExit in it, which passes.
        interrupted: What is said after Ctrl-C or SIGTERM.
        clean_up: Called when the program must end without unwinding.
        is_forced: Whether an interrupt that a tool swallows ends the program all the same, three seconds later.
    """
    is_stdout_closed = _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # A path that the terminal's encoding cannot show is shown escaped; it is no reason to fail.
        with contextlib.suppress(AttributeError):  # streams of tests have no encoding to set
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        said = _run(body, interrupted, clean_up, is_forced)
    except SystemExit as e:
        raise SystemExit(_to_stdout("", e.code if isinstance(e.code, int) else 1)) from None
    except KeyboardInterrupt:  # in the body, or while the guard itself is set up or taken down
        said = Answer(code=EXIT_CODE, remarks=(interrupted,))
    for line in said.remarks:
        _to_stderr(line)
    code = _to_stdout(said.text, said.code)
    if is_stdout_closed and said.text and code == 0:
        _to_stderr("error: stdout is closed, so the result could not be printed")
        return 1
    return code


def _run(body: Callable[[], Answer], interrupted: str, clean_up: Callable[[], None], is_forced: bool) -> Answer:
    with heeded(clean_up, interrupted, is_forced=is_forced) as heed:
        try:
            return body()
        except SystemExit:  # argparse's: help (0) or misuse (2), already printed
            if not heed.was_pressed:
                raise
            return Answer(code=EXIT_CODE, remarks=(interrupted,))
        except (ValueError, ImportError, RuntimeError, OSError) as e:
            if heed.was_pressed:  # a tool made an error of the interrupt
                return Answer(code=EXIT_CODE, remarks=(interrupted,))
            code = 2 if isinstance(e, (ValueError, ImportError)) else 1
            return Answer(code=code, remarks=(f"error: {e}",))


def _open_standard_streams() -> bool:
    """Put the null device where a standard stream is closed; return whether stdout was.

    A file opened later would otherwise get the descriptor, and what a tool prints would end up in it.
    """
    closed = []
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
            closed.append(descriptor)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return 1 in closed


def _to_stdout(text: str, code: int) -> int:
    """Print the text, flush, and return the exit code that comes of it."""
    try:
        if text:
            print(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
    except OSError as e:
        _forget_stdout()
        reason = e.strerror or errno.errorcode.get(e.errno or 0, "")
        _to_stderr(f"error: cannot write to stdout: {reason}")
        return code or 1
    return code


def _forget_stdout() -> None:
    """Let what is still buffered go nowhere, or the interpreter would fail on it once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _to_stderr(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody is left to tell
        print(line, file=sys.stderr, flush=True)
