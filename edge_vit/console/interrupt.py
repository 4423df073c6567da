"""One Ctrl-C (or SIGTERM) is enough, also while a lowering tool is at work that swallows Python's exceptions."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

PATIENCE_S = 3.0
EXIT_CODE = 130
# What ends the program, and how Python treats it unless somebody chose otherwise.
_ENDING: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Heed:
    """Tells whether the program was told to end: a tool may have turned the interrupt into an error of its own."""

    was_pressed = False


@contextlib.contextmanager
def heeded(clean_up: Callable[[], None], last_words: str, *, is_forced: bool = True) -> Iterator[Heed]:
    """Within the block, end the program at the first Ctrl-C or SIGTERM, whatever becomes of the exception.

    KeyboardInterrupt is raised as ever. Lowering tools call Python from C++ and may lose it there; if the block still
    runs PATIENCE_S seconds later, `clean_up` is called, `last_words` are printed and the process ends. With `is_forced`
    off the block takes as long as its own cleaning up needs.
    """
    heed = Heed()
    ends_it: list[threading.Timer] = []
    stderr = os.dup(2)

    def give_up() -> None:
        clean_up()
        # Whatever silences a tool at that moment, by file descriptor or by sys.stderr, must not silence this.
        os.write(stderr, f"{last_words}\n".encode())
        os._exit(EXIT_CODE)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if not heed.was_pressed and is_forced:
            timer = threading.Timer(PATIENCE_S, give_up)
            timer.daemon = True
            timer.start()
            ends_it.append(timer)
        heed.was_pressed = True
        raise KeyboardInterrupt

    # Elsewhere than in the main thread there is nothing to heed, nor where a signal is ignored or treated by others.
    ours = [number for number, usual in _ENDING.items() if signal.getsignal(number) is usual]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, on_interrupt)
    try:
        yield heed
    finally:
        for timer in ends_it:
            timer.cancel()
        for number in ours:
            signal.signal(number, _ENDING[number])
        os.close(stderr)
