"""Try what may crash in a child process first, so that a damaged file ends in a message and not in silence."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable

PATIENCE_S = 60.0


def crash_of(action: Callable[[], object]) -> str:
    """Run `action` in a copy of this process; return the name of the signal that ended it, "" if none did.

    An exception counts as no crash: the caller will see it again. Where processes cannot be copied (Windows) nothing is
    tried. A copy that hangs, because it lacks its parent's threads, is ended and counts as no crash.
    """
    if not hasattr(os, "fork"):
        return ""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads are not copied; the child needs none
        warnings.simplefilter("ignore", RuntimeWarning)  # the same, said by JAX, which litert-torch brings
        child = os.fork()
    if child == 0:
        _end_after(action)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return ""
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else ""


def _end_after(action: Callable[[], object]) -> None:
    """Run in the child: quiet, and without any of the parent's handlers at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.stdout = sys.stderr = os.fdopen(null, "w")
    for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        action()
    finally:
        os._exit(0)
