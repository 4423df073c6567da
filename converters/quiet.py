"""Keep what SDKs say while they work out of our output."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(silenced: int = logging.WARNING) -> Iterator[None]:
    """Drop warnings, prints, and log records up to a level, while the block runs; exceptions pass."""
    previous, nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(silenced)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Hold back what C++ code writes to descriptor 2 while the block runs; it is shown if the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
