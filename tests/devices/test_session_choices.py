"""What a session chooses on a phone and says of it: cores, and who runs the model where there is no runner."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_vit.devices import runners, session
from edge_vit.devices.device_info import parse_info
from edge_vit.devices.machine import Cancel, MachineError
from edge_vit.devices.session import Session
from edge_vit.devices.settings import Settings
from edge_vit.devices.via_app import ViaAppRunner

PHONE = parse_info("R5C", "prop ro.build.version.release 15\nmachine aarch64\ntaskset yes\n")


class Phone:
    """A machine that answers whether the app is installed."""

    name, temporary = "R5C", "/data/local/tmp"

    def __init__(self, has_app: bool) -> None:
        self.cancel, self.has_app = Cancel(), has_app

    def run(self, script: str, **_: object) -> tuple[int, str]:
        assert script == "pm path edgevit.demo"
        return (0, "package:/data/app/base.apk\n") if self.has_app else (1, "")


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners.download_benchmark_model, "__defaults__", ("http://127.0.0.1:1/{version}/{name}",))


def choose(model: Path, cache: Path, has_app: bool, settings: Settings) -> tuple[runners.Runner, list[str]]:
    said: list[str] = []
    made = Session(Phone(has_app), [model], settings, cache, said.append)  # type: ignore[arg-type]
    return made._runner_for(model, PHONE), said


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("name", ["demo.tflite", "demo.pte"])
def test_the_app_takes_the_place_of_a_runner_that_is_not_to_be_had(name: str, make_model, tmp_path: Path) -> None:
    model = make_model(name)
    runner, said = choose(model, tmp_path, True, Settings(litert_version="2.3.0"))
    assert isinstance(runner, ViaAppRunner)
    assert said[0].startswith("R5C: ") and said[0].endswith("; measuring through the demo app, which is on the device")


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize(
    "settings, has_app",
    [
        (Settings(litert_version="2.3.0"), False),
        (Settings(litert_version="2.3.0", cores="f0"), True),  # an app cannot be pinned
    ],
)
def test_without_the_app_the_reason_stays(settings: Settings, has_app: bool, make_model, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"cannot download benchmark_model 2\.3\.0 from .*give it with --runner"):
        choose(make_model("demo.tflite"), tmp_path, has_app, settings)


@pytest.mark.parametrize(
    "cores, mask, threads, said",
    [
        ("big", 0x80, 1, "R5C: --cores big is core 7 alone; give a hexadecimal mask for others"),
        ("little", 0x3, 4, "R5C: --cores little is cores 0, 1, for 4 threads; give a hexadecimal mask for others"),
    ],
)
def test_few_cores_are_named(cores: str, mask: int, threads: int, said: str) -> None:
    assert session.describe_cores("R5C", Settings(cores=cores, threads=threads), mask) == said


def test_a_windows_host_imports_everything() -> None:
    """None of the modules that only POSIX has is needed to talk to a phone."""
    code = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'grp', 'termios', 'resource'): sys.modules[name] = None\n"
        "import pkgutil, importlib, edge_vit.devices as d\n"
        "for one in pkgutil.iter_modules(d.__path__): importlib.import_module('edge_vit.devices.' + one.name)\n"
        "from edge_vit import bench_arm; bench_arm.build_parser()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
