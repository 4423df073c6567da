"""The Swift package's golden values are what Python makes now, and what the Android app's classes make."""

import json
import shutil
import subprocess

import ios_golden
import pytest

from android_demo.apk import check, golden


@pytest.fixture(scope="module")
def values():
    return json.loads(ios_golden.GOLDEN.read_text())


def test_they_are_python_s(values):
    made = json.loads(json.dumps(ios_golden.make()))
    assert made.keys() == values.keys()
    for name in made:
        assert made[name] == values[name], name


def test_java_s_are_equal(values, tmp_path):
    if not shutil.which("javac"):
        pytest.skip("no javac; install a JDK (Debian: openjdk-17-jdk-headless)")
    probe = check.compile_probe(tmp_path)
    request = {"do": "golden", **{key: values[key] for key in ("plans", "kernels", "softmax", "quantiles", "drifts")}}
    (found,) = golden.ask(["java"], [tmp_path / "core", probe], [request])
    assert found["kernels"] == [{"first": one["first"], "weights": one["weights"]} for one in values["kernels"]]
    for made, one in zip(found["softmax"], values["softmax"], strict=True):
        assert made == pytest.approx(one["probabilities"], abs=1e-12)
    assert found["quantiles"] == pytest.approx([one["expected"] for one in values["quantiles"]])
    drifts = [one["expected"] for one in values["drifts"]]
    assert [one is None for one in found["drifts"]] == [one is None for one in drifts]
    assert [one for one in found["drifts"] if one] == pytest.approx([one for one in drifts if one])


@pytest.mark.slow
def test_swift_s_are_equal():
    if not shutil.which("swift"):
        pytest.skip("no Swift toolchain; see swift.org/install")
    folder = ios_golden.GOLDEN.parents[2]
    done = subprocess.run(["swift", "test", "--package-path", folder], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
