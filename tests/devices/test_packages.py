import subprocess
import sys
from pathlib import Path

import pytest

from edge_vit.devices import packages


def test_once_fills_a_folder_a_single_time(tmp_path: Path) -> None:
    calls = []

    def fill(part: Path) -> None:
        calls.append(part)
        (part / "content").write_text("whole")

    for _ in range(2):
        assert (packages.once(tmp_path / "thing", fill) / "content").read_text() == "whole"
    assert len(calls) == 1


def test_once_leaves_nothing_under_the_final_name_when_filling_breaks_off(tmp_path: Path) -> None:
    def broken(part: Path) -> None:
        (part / "content").write_text("half")
        raise ValueError("connection lost")

    with pytest.raises(ValueError, match="connection lost"):
        packages.once(tmp_path / "thing", broken)
    assert not (tmp_path / "thing").exists()
    packages.once(tmp_path / "thing", lambda part: (part / "content").write_text("whole") and None)
    assert (tmp_path / "thing" / "content").read_text() == "whole"


def test_once_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from edge_vit.devices import packages\n"
        "packages.once(Path(sys.argv[1]) / 'thing', lambda part: os._exit(1))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert list(tmp_path.glob("thing.part-*"))
    packages.once(tmp_path / "thing", lambda part: None)
    assert not list(tmp_path.glob("thing.part-*"))


def test_once_is_filled_by_one_of_several_processes(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from edge_vit.devices import packages\n"
        "def fill(part): time.sleep(0.3); (part / str(os.getpid())).touch()\n"
        "print(*os.listdir(packages.once(Path(sys.argv[1]) / 'thing', fill)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate(timeout=60)[0].strip() for process in running}
    assert len(said) == 1 and said.pop() in {str(process.pid) for process in running}


def test_a_cache_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ValueError, match=r"cannot keep thing in .*; choose another folder with --cache-dir"):
            packages.once(folder / "thing", lambda part: None)

    def full(part: Path) -> None:
        Path("/dev/full").write_text("x")

    with pytest.raises(ValueError, match=r"cannot keep thing in .* \(No space left on device\); choose"):
        packages.once(tmp_path / "thing", full)
    assert not list(tmp_path.glob("thing.part-*"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "sources.list",
            "# deb http://old.example/debian x main\ndeb [arch=amd64] http://mirror.example/debian bookworm main\n",
        ),
        ("sources.list.d/a.sources", "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\n"),
        (
            "sources.list.d/b.list",
            "deb https://tools.example/apt stable main\ndeb http://mirror.example/debian trixie main contrib\n",
        ),
    ],
)
def test_debian_mirror_is_the_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.delenv(packages.MIRROR_VARIABLE, raising=False)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert packages.debian_mirror(tmp_path) == "http://mirror.example/debian"


def test_debian_mirror_is_not_the_security_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(packages.MIRROR_VARIABLE, raising=False)
    (tmp_path / "sources.list").write_text("deb http://mirror.example/debian-security bookworm-security main\n")
    with pytest.raises(ValueError, match=r"no Debian mirror in .*; set EDGE_VIT_DEBIAN_MIRROR"):
        packages.debian_mirror(tmp_path)


def test_debian_mirror_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(packages.MIRROR_VARIABLE, "http://given.example/debian")
    assert packages.debian_mirror(tmp_path) == "http://given.example/debian"


def test_without_apt_the_message_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"needs the Debian packages qemu-user, and apt-get and dpkg-deb to fetch them"
    ):
        packages.fetch_debian(tmp_path / "x", "bookworm", "amd64", ["qemu-user"])


def test_without_the_keyring_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "DEBIAN_KEYRING", tmp_path / "absent.gpg")
    for name in ("apt-get", "dpkg-deb"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="install debian-archive-keyring"):
        packages.fetch_debian(tmp_path / "x", "bookworm", "amd64", ["qemu-user"])


def test_an_unreachable_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ValueError, match=r"cannot get the PyPI package edge-vit-no-such-wheel==1: .* said: "):
        packages.fetch_wheel(tmp_path / "wheel", "edge-vit-no-such-wheel==1")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ValueError, match="cannot get the thing: no program /no/such/program"):
        packages.call(["/no/such/program"], "the thing")


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(ValueError, match="cannot get the thing: sh said: first / second"):
        packages.call(["sh", "-c", "echo first >&2; echo second >&2; exit 3"], "the thing")
