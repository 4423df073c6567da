"""The app's plain Java classes, compiled from source, and manifests of made-up models for them."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from android_demo.apk import golden
from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from converters import manifest as manifests

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


def input_info(**changes):
    fields = dict(
        name="image", layout="NHWC", shape=(1, 32, 32, 3), dtype="uint8", value_range=(0.0, 255.0), color="RGB",
        resize=32, interpolation="bicubic", crop_pct=1.0, mean=IMAGENET_MEAN, std=IMAGENET_STD, normalization="inside",
    )  # fmt: skip
    return manifests.InputInfo(**(fields | changes))


@pytest.fixture
def make_model(tmp_path):
    """Return a function that writes a made-up model with its manifest; it is bytes that no runtime could load."""

    def make(name="demo_int8.pte", *, classes=("tench", "church", "parachute", "truck"), changes=None, **input_changes):
        path = tmp_path / "models" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode() * 1000)
        manifest = manifests.Manifest(
            model="demo",
            precision="int8_ptq",
            target="executorch",
            backend="xnnpack",
            weights=manifests.WeightsInfo(source="random", sha256=None),
            classes=tuple(manifests.ClassLabel(id=f"n{i:08}", name=label) for i, label in enumerate(classes)),
            input=input_info(**input_changes),
            output=manifests.OutputInfo(name="logits", shape=(1, len(classes)), dtype="float32", kind="logits"),
            file=manifests.describe_file(path),
            operators=manifests.OperatorsInfo(counts={}, quantize=0, dequantize=0, float_islands=()),
            delegated_nodes=1,
            total_nodes=1,
            verification=None,
            verification_reason="a made-up model",
            command="tests",
        )
        manifests.save(dataclasses.replace(manifest, **(changes or {})), path)
        return path

    return make
