"""Swift without installing it: the one on PATH, else Debian's, unpacked into the cache and entered as a root."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from converters.cache import cache_folder
from edge_vit.devices import packages

SUITE = "trixie"  # The first release of Debian that has it.
PACKAGES = ("swiftlang", "libc6-dev", "libstdc++-14-dev", "binutils", "git", "bash", "coreutils")
TOOLS = "/usr/libexec/swift/bin"
TIMEOUT_S = 900


def run(script: str, folder: Path, scratch: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess:
    """Run a shell script that calls `swift` and `swiftc` in a folder.

    Args:
        folder: Where it runs; in the script ".".
        scratch: What the script may write to; in it and in the environment's values "@".

    Raises:
        ValueError: If there is no Swift and Debian's cannot be had or entered.
    """
    if shutil.which("swift"):
        words = {name: value.replace("@", str(scratch)) for name, value in environment.items()}
        command = ["sh", "-c", script.replace("@", str(scratch))]
        return _call(command, folder, os.environ | words)
    root = packages.fetch_debian(
        cache_folder(None) / f"swift-{SUITE}-{packages.host_architecture()}",
        SUITE, packages.host_architecture(), PACKAGES,
    )  # fmt: skip
    # Folders of the root that stay empty carry ours: /home the sources, /tmp what is written.
    words = [f"{name}={value.replace('@', '/tmp')}" for name, value in environment.items()]
    inner = ["env", "-i", "HOME=/tmp", "LANG=C.UTF-8", f"PATH={TOOLS}:/usr/bin:/bin", *words]
    inner += ["bash", "-c", "cd /home && " + script.replace("@", "/tmp")]
    mounts = [("--rbind", "/dev", "dev"), ("--rbind", "/proc", "proc"), ("--bind", str(folder), "home")]
    mounts.append(("--bind", str(scratch), "tmp"))
    lines = [shlex.join(["mount", kind, source, str(root / place)]) for kind, source, place in mounts]
    lines.append("exec " + shlex.join(["chroot", str(root), *inner]))
    enter = ["unshare", "--user", "--map-root-user", "--mount", "--fork", "sh", "-c"]
    if _call([*enter, "true"], folder, os.environ).returncode:
        raise ValueError("no user namespaces here to enter Debian's Swift in")
    return _call([*enter, " && ".join(lines)], folder, os.environ)


def _call(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder, env=environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
