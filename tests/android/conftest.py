"""The app's plain Java classes, compiled from source, and manifests of made-up models for them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from android_demo.apk import golden

CORE = Path(__file__).parents[2] / "android_demo" / "core" / "src"


@pytest.fixture(scope="session")
def core_classes(tmp_path_factory):
    """The folder of the compiled core and its probe."""
    if not shutil.which("javac"):
        pytest.skip("no javac; install a JDK (Debian: openjdk-17-jdk-headless)")
    folder = tmp_path_factory.mktemp("classes")
    sources = [str(p) for p in sorted(CORE.glob("*/java/edgevit/core/*.java"))]
    command = ["javac", "-Xlint:all,-options,-serial", "-Werror", "-source", "8", "-target", "8", "-d", str(folder)]
    done = subprocess.run([*command, *sources], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def ask(core_classes):
    """Ask the app's classes, in one process for all tests; returns their answers."""
    with subprocess.Popen(
        ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(core_classes), golden.PROBE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as probe:

        def ask(*requests):
            answers = []
            for request in requests:
                probe.stdin.write(json.dumps(request).encode() + b"\n")
                probe.stdin.flush()
                answers.append(json.loads(probe.stdout.readline()))
            return answers

        yield ask
        probe.stdin.close()
