"""End to end: bench_arm against real adb daemons in emulated aarch64 userlands."""

import contextlib
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters.cache import cache_folder
from converters.tflite.reader import read_model
from edge_vit import bench_arm
from edge_vit.devices import adb, device_info, host_run
from edge_vit.emulation import tflite as emulation
from edge_vit.emulation.virtual_device import VirtualDevices

LONG = "100000"  # inferences that no test waits for

SILENT = """
import socket
s = socket.socket(); s.bind(("127.0.0.1", 15600)); s.listen(5); kept = []
print("listening", flush=True)
while True: kept.append(s.accept())
"""

# A daemon that asks for another key for ever, as a phone does whose screen nobody has touched.
LOCKED = """
import os, socket, struct, threading
def packet(command, data):
    code = int.from_bytes(command, "little")
    return struct.pack("<6I", code, 1, 0, len(data), sum(data), code ^ 0xFFFFFFFF) + data
def serve(connection):
    while len(head := connection.recv(24)) == 24:
        left = struct.unpack("<6I", head)[3]
        while left: left -= len(connection.recv(left))
        connection.sendall(packet(b"AUTH", os.urandom(20)))
s = socket.socket(); s.bind(("127.0.0.1", 15601)); s.listen(5)
print("listening", flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


def bench(devices: VirtualDevices, *words: str | Path) -> tuple[int, list[dict], str]:
    """Run bench_arm with the adb that sees only these devices; return exit code, records and what it said."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = bench_arm.main([*map(str, words), "--adb", devices.adb(), "--json"])
    return code, json.loads(out.getvalue() or "[]"), said.getvalue()


def left_behind(devices: VirtualDevices, serial: str) -> str:
    """Return what lies in the device's folder for temporary files, and which runners run in its root."""
    script = (
        "ls /data/local/tmp; for p in /proc/[0-9]*; do [ $p/root -ef / ] && cat $p/cmdline; done 2>/dev/null"
        " | tr '\\0' ' ' | grep -o '[l]itert_runner --lib'"
    )
    return adb.AdbDevice(devices.adb(), serial).run(script)[1].strip()


@pytest.fixture
def outsider(devices: VirtualDevices, request: pytest.FixtureRequest) -> Iterator[str]:
    """Something that accepts adb's connection and is no usable device."""
    code, serial = request.param
    process = devices.popen(sys.executable, "-c", code)
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stdout.readline().strip() == "listening"
        # adb waits ten seconds for an answer that never comes; its list shows the device at once.
        connecting = devices.popen("adb", "connect", serial)
        deadline = time.monotonic() + 15
        while serial not in (seen := {d.serial for d in adb.list_devices(devices.adb())}):
            assert time.monotonic() < deadline, seen
            time.sleep(0.1)
        yield serial
        devices.run("adb", "disconnect", serial)
        connecting.communicate(timeout=30)
    finally:
        devices.kill_inside(process)


def test_exit_codes_and_files_come_through(devices: VirtualDevices, tmp_path: Path) -> None:
    device = adb.AdbDevice(devices.adb(), devices.serials[0])
    for script, code in (("exit 7", 7), ("no-such-program", 127), ("kill -9 $$", 137), ("true", 0)):
        assert device.run(script)[0] == code
    assert device.run("printf 'no newline'") == (0, "no newline\n")
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(bytes(range(256)) * 4000)
    device.push(sent, "/data/local/tmp/with space")
    device.pull("/data/local/tmp/with space", back)
    assert back.read_bytes() == sent.read_bytes()
    device.run("rm '/data/local/tmp/with space'")


def test_device_is_described(devices: VirtualDevices) -> None:
    info = device_info.probe(adb.AdbDevice(devices.adb(), devices.serials[0]))
    assert info.machine == "aarch64" and info.emulated and info.has_taskset and not info.is_android
    assert [(c.cores, c.capacity, c.max_khz) for c in info.clusters] == [((0,), 384, 1800000), ((1,), 1024, 2400000)]
    assert device_info.core_mask("big", info) == 2


@pytest.mark.needs_tflite
def test_measures_two_models_and_tells_no_times(
    devices: VirtualDevices, tiny_fp32: Path, tiny_int8: Path, tmp_path: Path
) -> None:
    code, records, _ = bench(
        devices, tiny_fp32, tiny_int8, "--serial", devices.serials[0], "--cores", "little", "--results", tmp_path
    )
    assert code == 0 and [r["model"] for r in records] == ["tiny_fp32.tflite", "tiny_int8.tflite"]
    inputs = host_run.seeded_inputs(read_model(tiny_int8).input_tensors)
    for r in records:
        assert r["is_complete"] and r["emulated"] and r["mask"] == 1
        assert r["figures"] == {"num_samples": 2, "marks": ["emulated"]}
        assert r["rounds"] == [{"repeat": 0, "num_samples": 2}] and r["peak_kb"] is None
    assert records[1]["output_sha256"] == hashlib.sha256(host_run.reference_output(tiny_int8, inputs)).hexdigest()
    assert records[1]["output_equals_host"] is True
    assert records[0]["output_max_difference"] < 1e-5
    table = (tmp_path / "results.md").read_text()
    assert "their times are the emulator's and are not shown" in table and "equal to host's" in table
    assert all(cell == "-" for cell in table.splitlines()[4].split(" | ")[7:13])  # the columns of times
    assert left_behind(devices, devices.serials[0]) == ""


def test_one_of_two_devices_dies_half_way(devices: VirtualDevices, tiny_int8: Path) -> None:
    command = [sys.executable, "-m", "edge_vit.bench_arm", str(tiny_int8), "--all", "--adb", devices.adb(), "--json"]
    running = subprocess.Popen(
        [*command, "--emulated-runs", "1500"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    dying = f"{devices.serials[1]}: measuring"  # said when the first samples have arrived
    try:
        for line in running.stderr:
            if line.startswith(dying):
                break
        devices.kill_device(1)
        out, _ = running.communicate(timeout=120)
    finally:
        running.kill()
        running.communicate()
        devices.start_device(1)
    assert running.returncode == 1
    alive, dead = json.loads(out)
    assert alive["device_name"] == devices.serials[0] and alive["is_complete"] and alive["failure"] is None
    assert alive["figures"]["num_samples"] == 1500
    assert dead["failure"]["kind"] == "disconnected" and "disconnected" in dead["failure"]["message"]
    assert not dead["is_complete"] and 0 < dead["figures"]["num_samples"] < 1500
    assert dead["figures"]["marks"] == ["emulated", "partial: disconnected"]
    assert left_behind(devices, devices.serials[0]) == ""


def test_ctrl_c_cleans_the_device(devices: VirtualDevices, tiny_int8: Path) -> None:
    serial = devices.serials[0]
    command = [sys.executable, "-m", "edge_vit.bench_arm", str(tiny_int8), "--serial", serial, "--adb", devices.adb()]
    # A test run in the background ignores SIGINT and its children inherit that; a user's terminal does not.
    heeding = ["env", "--default-signal=INT", *command, "--emulated-runs", LONG, "--json"]
    running = subprocess.Popen(heeding, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    try:
        for line in running.stderr:
            if ": measuring" in line:
                break
        assert "litert_runner --lib" in left_behind(devices, serial)
        running.send_signal(signal.SIGINT)
        out, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 1 and "interrupted; cleaning up" in said and "Traceback" not in said
    (record,) = json.loads(out)
    assert record["failure"] == {"kind": "interrupted", "message": "interrupted"}
    assert record["figures"]["num_samples"] > 0
    assert left_behind(devices, serial) == ""


def test_a_crashing_runner_is_told(devices: VirtualDevices, tiny_int8: Path, tmp_path: Path) -> None:
    runner = tmp_path / "litert_runner_crash"
    runner.write_text("#!/bin/sh\necho something went wrong\nkill -SEGV $$\n")
    code, (record,), _ = bench(devices, tiny_int8, "--serial", devices.serials[0], "--runner", runner)
    assert code == 1
    assert record["failure"]["kind"] == "runner failed"
    assert "litert_runner crashed (SIGSEGV) on tiny_int8.tflite on 127.0.0.1" in record["failure"]["message"]
    assert record["failure"]["message"].endswith("something went wrong")
    assert left_behind(devices, devices.serials[0]) == ""


def test_a_damaged_model_is_told_before_any_device_is_touched(
    devices: VirtualDevices, tiny_int8: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\xff\xff\xff\x7f" + tiny_int8.read_bytes()[4:])
    assert bench_arm.main([str(damaged), "--adb", "/no/adb"]) == 1
    assert "damaged.tflite is cut short or damaged" in capsys.readouterr().err


def test_a_model_that_vanishes_from_the_device_is_told(
    devices: VirtualDevices, tiny_int8: Path, tmp_path: Path
) -> None:
    """The real runner behind a wrapper that removes the model first."""
    from edge_vit.devices import runner_build

    runner = tmp_path / "litert_runner"
    real = runner_build.aarch64_runner(cache_folder())
    device = adb.AdbDevice(devices.adb(), devices.serials[0])
    device.push(real, "/data/local/tmp/real_runner")
    device.run("chmod 755 /data/local/tmp/real_runner")
    runner.write_text('#!/bin/sh\nrm -f tiny_int8.tflite\nexec /data/local/tmp/real_runner "$@"\n')
    code, (record,), _ = bench(devices, tiny_int8, "--serial", devices.serials[0], "--runner", runner)
    device.run("rm /data/local/tmp/real_runner")
    assert code == 1
    assert "litert_runner could not load the model on 127.0.0.1" in record["failure"]["message"]
    assert "exit code 4" in record["failure"]["message"] and "load the model" in record["failure"]["message"]


def test_a_full_device_is_told_and_left_clean(devices: VirtualDevices, tiny_int8: Path) -> None:
    serial = devices.start_device(2, data_size="3m")  # LiteRT's library alone has six
    try:
        code, (record,), _ = bench(devices, tiny_int8, "--serial", serial)
        assert code == 1 and record["failure"]["kind"] == "no space"
        assert record["failure"]["message"].startswith(
            f"no space left on device {serial} for libLiteRt.so; free some in"
        )
        assert record["figures"] == {"num_samples": 0, "marks": ["emulated", "failed: no space"]}
        assert left_behind(devices, serial) == ""
    finally:
        devices.stop_device(2)


@pytest.mark.parametrize("outsider", [(SILENT, "127.0.0.1:15600")], indirect=True)
def test_an_offline_device_is_told(devices: VirtualDevices, outsider: str, tiny_int8: Path) -> None:
    code, records, said = bench(devices, tiny_int8, "--serial", outsider)
    assert code == 1 and not records
    assert said.strip() == f"error: device {outsider} is offline; reconnect it, or `adb kill-server` and try again"


@pytest.mark.parametrize("outsider", [(LOCKED, "127.0.0.1:15601")], indirect=True)
def test_an_unauthorized_device_is_told(devices: VirtualDevices, outsider: str, tiny_int8: Path) -> None:
    code, records, said = bench(devices, tiny_int8, "--serial", outsider)
    assert code == 1 and not records
    assert f"error: device {outsider} is unauthorized; unlock it and accept the debugging question on it" in said


def test_devices_must_be_chosen_and_known(
    devices: VirtualDevices, tiny_int8: Path, capsys: pytest.CaptureFixture
) -> None:
    assert bench_arm.main([str(tiny_int8), "--adb", devices.adb()]) == 1
    assert "2 devices attached" in capsys.readouterr().err
    assert bench_arm.main([str(tiny_int8), "--adb", devices.adb(), "--serial", "R5C"]) == 1
    assert "no device R5C; attached: 127.0.0.1:15555, 127.0.0.1:15556" in capsys.readouterr().err


def test_without_a_device_the_message_says_so(
    toolchain: emulation.Toolchain, devices: VirtualDevices, tiny_int8: Path, capsys: pytest.CaptureFixture
) -> None:
    with VirtualDevices(0) as none:
        assert bench_arm.main([str(tiny_int8), "--adb", none.adb()]) == 1
    assert "error: no device attached; plug one in with USB debugging on" in capsys.readouterr().err


def test_namespaces_end_with_their_owner(toolchain: emulation.Toolchain, devices: VirtualDevices) -> None:
    """A test run that is killed outright leaves no daemon behind."""
    code = (
        "import os, sys; from edge_vit.emulation.virtual_device import VirtualDevices\n"
        "with VirtualDevices(1) as v:\n"
        "    print(v.holder_pid, v.folder, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid, folder = done.stdout.split()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shutil.rmtree(folder)


# Stand-ins for Android's package manager and activity manager, which Debian has not: the app "runs" by writing the
# record that it was told to write, with one sample a run.
PM = '#!/bin/sh\necho pm "$@" >>/data/local/tmp/calls\n'
AM = """#!/bin/sh
echo am "$@" >>/data/local/tmp/calls
files=/sdcard/Android/data/edgevit.demo/files
[ ! -d $files ] || [ -e $files/../by_the_app ] || exit 0
mkdir -p $files/models $files/bench
: >$files/../by_the_app
case "$*" in *prepare*) exit 0 ;; esac
runs=0
while [ $# -gt 0 ]; do case $2 in runs) runs=$3;; result) result=$3;; esac; shift; done
{
    echo -n '{"is_complete": true, "emulated": false, "peak_kb": 40960, "rounds": [{"repeat": 0, "num_samples": '
    echo "$runs," '"samples_us": [5000, 5100], "load_us": 20000, "first_us": 9000, "is_steady": true}]}'
} >/sdcard/Android/data/edgevit.demo/files/bench/$result
"""


@pytest.fixture
def model_for_the_app(tiny_int8: Path, tmp_path: Path) -> Path:
    model = tmp_path / "with its manifest.tflite"
    model.write_bytes(tiny_int8.read_bytes())
    (tmp_path / f"{model.name}.json").write_text("{}")
    return model


def test_without_the_app_the_message_says_so(devices: VirtualDevices, model_for_the_app: Path) -> None:
    code, (record,), _ = bench(devices, model_for_the_app, "--via-app", "--serial", devices.serials[0])
    assert code == 1 and record["runner"]["name"] == "android_demo"
    assert record["failure"]["kind"] == "runner failed"
    assert record["failure"]["message"].startswith(
        f"{devices.serials[0]}: the demo app (edgevit.demo) is not installed"
    )
    assert left_behind(devices, devices.serials[0]) == ""


def test_an_app_that_does_not_start_is_told(devices: VirtualDevices, model_for_the_app: Path, tmp_path: Path) -> None:
    with android_programs(devices, {"pm": PM, "am": "#!/bin/sh\nexit 1\n"}, tmp_path):
        code, (record,), _ = bench(devices, model_for_the_app, "--via-app", "--serial", devices.serials[0])
    assert code == 1 and "the demo app does not start" in record["failure"]["message"]
    assert record["figures"] == {"num_samples": 0, "marks": ["emulated", "failed: runner failed"]}


def test_two_models_via_the_app(devices: VirtualDevices, model_for_the_app: Path, tmp_path: Path) -> None:
    other = model_for_the_app.with_name("b.tflite")
    other.write_bytes(model_for_the_app.read_bytes())
    other.with_name("b.tflite.json").write_text("{}")
    apk = tmp_path / "demo.apk"
    apk.write_bytes(b"apk")
    with android_programs(devices, {"pm": PM, "am": AM}, tmp_path) as device:
        code, records, _ = bench(
            devices, model_for_the_app, other, "--app", apk, "--threads", "2", "--serial", device.serial
        )
        calls = device.run("cat /data/local/tmp/calls; rm -f /data/local/tmp/calls")[1].splitlines()
        left = device.run("find /sdcard -type f ! -name by_the_app")[1]
    assert (code, left) == (0, ""), [record["failure"] for record in records]
    for record in records:
        assert record["is_complete"] and record["mask"] is None and record["cores"] == "all"
        # The device is an emulated one, so no times are kept, whatever the app says.
        assert record["figures"] == {"num_samples": 2, "marks": ["emulated"]} and record["output_sha256"] is None
    assert records[0]["runner"] == {
        "name": "android_demo", "version": "given", "sha256": hashlib.sha256(b"apk").hexdigest(),
    }  # fmt: skip
    first = [["pm", "install"], ["pm", "path"], ["am", "start"], ["am", "start"]]
    assert [line.split()[:2] for line in calls] == [*first, *first[:3]]
    assert calls[2].endswith("--ez prepare true")  # a fresh install: the folder is the app's to make
    assert "--es model with its manifest.tflite --es result bench_arm.json --ei threads 2" in calls[3]
    assert left_behind(devices, device.serial) == ""


@contextlib.contextmanager
def android_programs(devices: VirtualDevices, programs: dict[str, str], folder: Path) -> Iterator[adb.AdbDevice]:
    """Put scripts into the first device's /system/bin, and take them away again."""
    device = adb.AdbDevice(devices.adb(), devices.serials[0])
    for name, text in programs.items():
        (folder / name).write_text(text)
        device.push(folder / name, f"/system/bin/{name}")
        device.run(f"chmod 755 /system/bin/{name}")
    try:
        yield device
    finally:
        device.run("rm -rf /system/bin/* /sdcard /data/local/tmp/calls")
