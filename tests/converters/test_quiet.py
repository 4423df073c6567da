"""What SDKs say is held back, what fails is heard."""

import logging
import os
import warnings

import pytest

from converters.quiet import quiet, quiet_native


def test_python_is_quiet_inside_and_heard_again_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("progress")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert not logging.getLogger("sdk").isEnabledFor(logging.WARNING)
        assert logging.getLogger("sdk").isEnabledFor(logging.ERROR)
    with quiet(logging.NOTSET):
        assert logging.getLogger("sdk").isEnabledFor(logging.WARNING)
    print("result")
    assert capsys.readouterr() == ("result\n", "")
    assert logging.getLogger("sdk").isEnabledFor(logging.WARNING)


def test_native_lines_are_dropped_unless_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_native():
        os.write(2, b"reading /sys\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(RuntimeError), quiet_native():
        os.write(2, b"no such operator\n")
        raise RuntimeError
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "no such operator\nafterwards\n"
