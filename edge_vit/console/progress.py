"""A line on stderr that says how far a command got."""

import sys
import time

_RENEWED_S, _REPEATED_S = 0.2, 10.0


class ProgressLine:
    """In a terminal one line that renews itself; elsewhere a line every ten seconds."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def show(self, line: str, *, is_last: bool) -> None:
        """Print the line if it is time to; a terminal sees the last one always."""
        now, is_terminal = time.monotonic(), sys.stderr.isatty()
        if now - self._shown < (_RENEWED_S if is_terminal else _REPEATED_S) and not (is_terminal and is_last):
            return
        self._shown = now
        end = "\n" if is_last or not is_terminal else ""
        print(("\r\033[K" if is_terminal else "") + line, end=end, file=sys.stderr, flush=True)
