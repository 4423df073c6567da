"""One Ctrl-C is enough, also while a lowering tool is at work that swallows Python's exceptions."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

PATIENCE_S = 3.0
EXIT_CODE = 130


class Heed:
    """Tells whether Ctrl-C was pressed: a tool may have turned the interrupt into an error of its own."""

    was_pressed = False


@contextlib.contextmanager
def heeded(clean_up: Callable[[], None], last_words: str) -> Iterator[Heed]:
    """Within the block, end the program at the first Ctrl-C, whatever becomes of the exception.

    KeyboardInterrupt is raised as ever. Lowering tools call Python from C++ and may lose it there; if the block still
    runs PATIENCE_S seconds later, `clean_up` is called, `last_words` are printed and the process ends.
    """
    heed = Heed()
    ends_it: list[threading.Timer] = []

    def give_up() -> None:
        clean_up()
        print(last_words, file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if not heed.was_pressed:
            heed.was_pressed = True
            timer = threading.Timer(PATIENCE_S, give_up)
            timer.daemon = True
            timer.start()
            ends_it.append(timer)
        raise KeyboardInterrupt

    # Elsewhere than in the main thread, or where interrupts are ignored, there is nothing to heed.
    is_ours = threading.current_thread() is threading.main_thread()
    is_ours = is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield heed
    finally:
        for timer in ends_it:
            timer.cancel()
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
