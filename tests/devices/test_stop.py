"""What a broken-off run leaves behind on a device: nothing that still runs."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vit.devices import adb
from edge_vit.devices.machine import MachineError
from edge_vit.devices.runners import BenchmarkModel, Call, ExecutorRunner, LiteRTRunner, Runner, Schedule
from edge_vit.devices.via_app import ViaAppRunner

SCHEDULE = Schedule(warmup_runs=0, warmup_s=0, max_warmup_s=0, runs=50, min_s=5, max_s=300)
# An adb whose device is this machine: what it starts outlives it, as on a phone, and its output comes over a pipe.
ADB = """#!/bin/sh
pipe=$(mktemp -u {folder}/pipe.XXXXXX) && mkfifo $pipe
PATH={folder}:$PATH setsid sh -c "$4" >$pipe 2>&1 &
exec cat $pipe
"""
# A program that runs longer than the test waits, under the process id that it writes down.
RUNNER = '#!/bin/sh\necho $$ >"{folder}/pid"\necho started\nexec sleep 60\n'


@pytest.fixture
def device(tmp_path: Path) -> adb.AdbDevice:
    for name, text in (("adb", ADB), ("logcat", "#!/bin/sh\n"), ("taskset", '#!/bin/sh\nshift; exec "$@"\n')):
        program(tmp_path / name, text.format(folder=tmp_path))
    return adb.AdbDevice(str(tmp_path / "adb"), "R5C")


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def break_off(device: adb.AdbDevice, script: str, has_begun: Callable[[], bool] = lambda: True) -> None:
    """Run a script, break the connection off once it has begun and said "started", and clean up as a session does."""
    seen: list[str] = []

    def run() -> None:
        with pytest.raises(MachineError, match="interrupted"):
            device.run(script, on_line=seen.append)
        seen.append("broken off")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for(lambda: "started" in seen and has_begun())
    device.cancel.set()
    thread.join(timeout=30)
    assert seen[-1] == "broken off"
    device.cancel.clear()
    device.stop()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def runners(folder: Path) -> dict[str, Runner]:
    own = program(folder / "program", RUNNER.format(folder=folder))
    return {
        "litert_runner": LiteRTRunner(own, own, "2.3.0"),
        "benchmark_model": BenchmarkModel(own, "2.3.0"),
        "executor_runner": ExecutorRunner(own, "given", is_android=False),
        "executor_runner on Android": ExecutorRunner(own, "given", is_android=True),
    }


@pytest.mark.parametrize("mask", [None, 1])
@pytest.mark.parametrize("name", ["litert_runner", "benchmark_model", "executor_runner", "executor_runner on Android"])
def test_the_runner_ends_when_a_run_is_broken_off(
    device: adb.AdbDevice, name: str, mask: int | None, tmp_path: Path
) -> None:
    runner = runners(tmp_path)[name]
    program(tmp_path / runner.name, RUNNER.format(folder=tmp_path))
    call = Call(folder=str(tmp_path), model="./m", inputs=(), output=None, threads=1, schedule=SCHEDULE)
    break_off(device, runner.script(call, mask))
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_alive(pid))


def test_the_app_ends_when_a_run_is_broken_off(device: adb.AdbDevice, tmp_path: Path) -> None:
    """Stand-ins for Android's package and activity managers, which this machine has not; they note what they do."""
    calls = tmp_path / "calls"
    for name in ("pm", "am"):
        program(tmp_path / name, f'#!/bin/sh\necho {name} "$@" >>"{calls}"\n')
    for name in ("m.tflite", "m.tflite.json"):
        (tmp_path / name).touch()
    runner = ViaAppRunner(tmp_path / "m.tflite", tmp_path / "m.tflite.json")
    call = Call(folder=str(tmp_path), model="./m.tflite", inputs=(), output=None, threads=1, schedule=SCHEDULE)
    script = runner.script(call, None).replace("/sdcard", str(tmp_path / "sdcard"))
    break_off(device, f"echo started; {script}", lambda: calls.exists() and "am start" in calls.read_text())
    wait_for(lambda: "am force-stop edgevit.demo" in calls.read_text())
    assert not list((tmp_path / "sdcard").rglob("m.tflite*"))
