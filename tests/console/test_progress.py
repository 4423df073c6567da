"""A line that renews itself in a terminal, and comes every ten seconds elsewhere."""

import io
import sys

import pytest

from edge_vit.console import progress
from edge_vit.console.progress import ProgressLine


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "said"),
    [(True, "\r\033[Kat 0.3\r\033[Kat 9\r\033[Kat 10.5\r\033[Klast\n"), (False, "at 10.5\n")],
)
def test_when_it_speaks(is_terminal, said, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Stream(is_terminal))
    line = ProgressLine()
    for now[0] in (0.1, 0.3, 0.4, 9, 10.5):
        line.show(f"at {now[0]}", is_last=False)
    line.show("last", is_last=True)
    assert sys.stderr.getvalue() == said
