"""The adb transport: exact command lines against a recording program. Real daemons are in test_devices.py."""

import json
import os
import sys
from pathlib import Path

import pytest

from edge_vit.devices import adb
from edge_vit.devices.adb import Attached
from edge_vit.devices.machine import MachineError, quote, wrap

SERIAL = "R5CT1234567"


@pytest.fixture
def fake_adb(tmp_path: Path) -> Path:
    """An adb program that writes down how it was called and answers from a file."""
    program = tmp_path / "adb"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "from pathlib import Path\n"
        "here = Path(__file__).parent\n"
        "with open(here / 'calls', 'a') as f: f.write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "answer = json.loads((here / 'answer').read_text())\n"
        "sys.stdout.write(answer['out']); sys.stderr.write(answer['err']); sys.exit(answer['code'])\n"
    )
    program.chmod(0o755)
    answer(program)
    return program


def answer(program: Path, out: str = "", err: str = "", code: int = 0) -> None:
    (program.parent / "answer").write_text(json.dumps({"out": out, "err": err, "code": code}))


def calls(program: Path) -> list[list[str]]:
    return [json.loads(line) for line in (program.parent / "calls").read_text().splitlines()]


def test_every_command_names_its_device(fake_adb: Path, tmp_path: Path) -> None:
    device = adb.AdbDevice(str(fake_adb), SERIAL)
    answer(fake_adb, "@pid 77\nhello\n\n@exit 0\n")
    assert device.run("echo hello") == (0, "hello\n")
    device.pull("/data/local/tmp/a b", tmp_path / "b")
    assert calls(fake_adb) == [
        ["-s", SERIAL, "shell", 'sh -c \'echo "@pid $$"; echo hello\'; code=$?; echo; echo "@exit $code"'],
        ["-s", SERIAL, "pull", "/data/local/tmp/a b", str(tmp_path / "b")],
    ]


def test_push_checks_the_hash_on_the_device(fake_adb: Path, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    device = adb.AdbDevice(str(fake_adb), SERIAL)
    answer(fake_adb, "@pid 1\n" + "0" * 64 + "  /tmp/model\n\n@exit 0\n")
    with pytest.raises(MachineError, match=f"model arrived damaged on device {SERIAL}") as caught:
        device.push(tmp_path / "model", "/tmp/model")
    assert caught.value.kind == "device error"
    assert calls(fake_adb)[0] == ["-s", SERIAL, "push", str(tmp_path / "model"), "/tmp/model"]
    assert "sha256sum /tmp/model" in calls(fake_adb)[1][3]
    answer(fake_adb, "@pid 1\nsh: sha256sum: not found\n\n@exit 127\n")
    with pytest.raises(MachineError, match="no sha256sum there"):
        device.push(tmp_path / "model", "/tmp/model")


def test_exit_code_and_lines_come_through(fake_adb: Path) -> None:
    answer(fake_adb, "@pid 77\r\none\r\ntwo\r\n\r\n@exit 139\r\n")
    lines: list[str] = []
    assert adb.AdbDevice(str(fake_adb), SERIAL).run("x", on_line=lines.append) == (139, "one\ntwo\n")
    assert lines[:2] == ["one", "two"]


# What adb 29 and 36 say, recorded; each with the kind of failure it is.
BROKEN = [
    ("", "disconnected", "disconnected"),
    ("error: device 'R5CT1234567' not found\n", "disconnected", "not found"),
    ("error: closed\n", "disconnected", "closed"),
    ("adb: error: failed to get feature set: device offline\n", "offline", "is offline; reconnect it"),
    ("error: device offline\n", "offline", "is offline"),
    (
        "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n",
        "unauthorized",
        "is unauthorized; unlock it and accept",
    ),
    ("adb: error: failed to get feature set: device still authorizing\n", "unauthorized", "is unauthorized"),
    ("error: insufficient permissions for device\n", "device error", "insufficient permissions"),
]


@pytest.mark.parametrize(("said", "kind", "message"), BROKEN)
def test_broken_connections_are_told_apart(fake_adb: Path, said: str, kind: str, message: str) -> None:
    answer(fake_adb, "@pid 77\nhalf a line", said, 1)
    with pytest.raises(MachineError, match=message) as caught:
        adb.AdbDevice(str(fake_adb), SERIAL).run("sleep 1")
    assert caught.value.kind == kind and SERIAL in str(caught.value)


def test_a_full_device_is_told(fake_adb: Path, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    answer(
        fake_adb, "", "adb: error: failed to copy 'm' to 'n': remote couldn't write file: No space left on device\n", 1
    )
    with pytest.raises(
        MachineError, match=f"no space left on device {SERIAL} for model; free some in /data/local/tmp"
    ) as e:
        adb.AdbDevice(str(fake_adb), SERIAL).push(tmp_path / "model", "/x")
    assert e.value.kind == "no space"


def test_a_silent_device_times_out(tmp_path: Path) -> None:
    program = tmp_path / "adb"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(MachineError, match="did not answer within 1 s") as caught:
        adb.AdbDevice(str(program), SERIAL).run("true", timeout_s=1)
    assert caught.value.kind == "disconnected"


def test_lists_devices_with_their_states(fake_adb: Path) -> None:
    answer(
        fake_adb,
        "List of devices attached\nA1\tdevice\nB2\tunauthorized\n"
        "C3\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://x]\n127.0.0.1:5555\toffline\n\n",
    )
    assert adb.list_devices(str(fake_adb)) == [
        Attached(serial="A1", state="device"),
        Attached(serial="B2", state="unauthorized"),
        Attached(serial="C3", state="no permissions"),
        Attached(serial="127.0.0.1:5555", state="offline"),
    ]
    answer(fake_adb, "", "* failed to start daemon\n", 1)
    with pytest.raises(MachineError, match="adb devices failed: \\* failed to start daemon"):
        adb.list_devices(str(fake_adb))


A, B = Attached(serial="A", state="device"), Attached(serial="B", state="device")
LOCKED, AWAY = Attached(serial="L", state="unauthorized"), Attached(serial="O", state="offline")


def test_chooses_devices() -> None:
    assert adb.choose_devices([A], (), False) == ["A"]
    assert adb.choose_devices([A, B], ("B",), False) == ["B"]
    assert adb.choose_devices([A, LOCKED, B], (), True) == ["A", "B"]


@pytest.mark.parametrize(
    ("attached", "serials", "take_all", "kind", "message"),
    [
        (
            [],
            (),
            False,
            "no device",
            "no device attached; plug one in with USB debugging on, or `adb connect HOST:PORT`",
        ),
        ([], (), True, "no device", "no device attached"),
        ([A, B], (), False, "no device", r"2 devices attached \(A, B\); choose with --serial or take --all"),
        ([A], ("X",), False, "no device", "no device X; attached: A"),
        ([LOCKED], (), False, "unauthorized", "device L is unauthorized"),
        ([LOCKED], (), True, "unauthorized", "device L is unauthorized"),
        ([A, AWAY], ("O",), False, "offline", "device O is offline"),
        ([Attached(serial="R", state="recovery")], (), False, "offline", "device R is in state 'recovery'"),
    ],
)
def test_refuses_unusable_choices(
    attached: list[Attached], serials: tuple[str, ...], take_all: bool, kind: str, message: str
) -> None:
    with pytest.raises(MachineError, match=message) as caught:
        adb.choose_devices(attached, serials, take_all)
    assert caught.value.kind == kind


def test_finds_adb(fake_adb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert adb.find_adb() == str(fake_adb)
    assert adb.find_adb(str(fake_adb)) == str(fake_adb)
    with pytest.raises(
        MachineError, match="no adb program at /no/adb; install Android's platform tools, pip install adb"
    ):
        adb.find_adb("/no/adb")


def test_finds_the_adb_in_adbutils(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = tmp_path / "adbutils" / "binaries" / "adb"
    bundled.parent.mkdir(parents=True)
    bundled.write_text("#!/bin/sh\n")
    (tmp_path / "adbutils" / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert adb.find_adb() == str(bundled)
    assert os.access(bundled, os.X_OK)


def test_without_any_adb_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"no adb program on PATH; .*--adb PATH") as caught:
        adb.find_adb()
    assert caught.value.kind == "no adb"


def test_quoting_survives_a_shell() -> None:
    assert quote("/data/local/tmp/a-b_1.tflite") == "/data/local/tmp/a-b_1.tflite"
    assert quote("it's") == "'it'\\''s'"
    assert wrap("echo 'a'").startswith("sh -c 'echo \"@pid $$\"; echo '\\''a'\\'''; ")


def test_another_server_is_named_in_every_command(fake_adb: Path) -> None:
    server = adb.server_words("10.0.0.2", 5038)
    answer(
        fake_adb, "List of devices attached\n192.168.1.7:5555\tdevice\nadb-R5C (2)._adb-tls-connect._tcp\tdevice\n\n"
    )
    found = adb.list_devices(str(fake_adb), server)
    assert [one.serial for one in found] == ["192.168.1.7:5555", "adb-R5C (2)._adb-tls-connect._tcp"]  # both wireless
    answer(fake_adb, "@pid 1\n\n@exit 0\n")
    adb.AdbDevice(str(fake_adb), found[1].serial, server=server).run("true")
    assert calls(fake_adb)[0] == ["-H", "10.0.0.2", "-P", "5038", "devices"]
    assert calls(fake_adb)[1][:6] == ["-H", "10.0.0.2", "-P", "5038", "-s", found[1].serial]
    assert adb.server_words(None, None) == ()


def test_a_device_that_linux_does_not_open_is_told(fake_adb: Path) -> None:
    answer(fake_adb, f"List of devices attached\n{SERIAL}\tno permissions (user in plugdev group); see [http://x]\n")
    (found,) = adb.list_devices(str(fake_adb))
    assert found.state == "no permissions"
    with pytest.raises(MachineError, match=r"this user may not open device R5CT1234567; see .* for udev rules"):
        adb.choose_devices([found], (), False)
