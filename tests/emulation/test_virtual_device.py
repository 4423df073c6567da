"""Messages of the command that runs another with emulated devices; the devices themselves are in tests/devices."""

import subprocess

import pytest

from edge_vit.emulation import virtual_device


@pytest.mark.parametrize("count", ["0", "17"])
def test_a_number_of_devices_has_its_range(count: str, capsys: pytest.CaptureFixture) -> None:
    assert virtual_device.main(["--count", count, "--", "true"]) == 2
    assert capsys.readouterr().err == f"error: count is {count}; it must be between 1 and 16\n"


def test_a_machine_that_cannot_hold_devices_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert virtual_device.main(["--", "true"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: emulated devices: needs ") and said.count("\n") == 1


def test_a_commands_exit_code_comes_through(devices: virtual_device.VirtualDevices) -> None:
    done = subprocess.run(devices.command(["sh", "-c", "exit 7"]), env=devices.environment(), check=False)
    assert done.returncode == 7
