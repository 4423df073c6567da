"""The Swift package's golden values are what Python makes now, and what the Android app's classes make."""

import json
import shutil
from pathlib import Path

import ios_golden
import made_up_models
import pytest
import swift_toolchain

from android_demo.apk import check, golden
from converters.manifest import load_for
from edge_vit.devices import imported

NOTES = ios_golden.GOLDEN.parents[2]


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
def test_swift_s_are_equal_and_its_record_is_imported(tmp_path):
    """The package's own tests, with a manifest of ours to read and a record for us to import."""
    scratch, farm = tmp_path / "scratch", tmp_path / "farm"
    farm.mkdir()
    made = make_model(scratch)
    (scratch / "manifest.json").write_text(made.with_name(f"{made.name}.json").read_text())
    environment = {"EDGE_VIT_MANIFEST": "@/manifest.json", "EDGE_VIT_RECORD": "@/record.json"}
    done = swift("swift test --scratch-path @/build -j 1", scratch, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Executed 11 tests, with 0 failures" in done.stdout + done.stderr
    shutil.copy(scratch / "record.json", farm)
    (plain,), failures = imported.read(farm)
    assert not failures and plain["model_sha256"] == load_for(made).file.sha256
    assert plain["figures"]["num_samples"] == 120 and plain["figures"]["p50"] == pytest.approx(4.003, abs=1e-3)
    assert plain["figures"]["marks"] == ["hot (light)"]


@pytest.mark.slow
def test_the_app_s_sources_parse_as_swift(tmp_path):
    """Their frameworks are Apple's, so no more than the grammar can be checked off a Mac."""
    done = swift("for f in App/Sources/*.swift; do swiftc -frontend -parse $f || exit 1; done", tmp_path, {})
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "bad.swift").write_text("func f( { let x = }")
    assert swift("swiftc -frontend -parse @/bad.swift", tmp_path, {}).returncode


STUBS = Path(__file__).with_name("stubs")
CHECK_TYPES = """cd @
swiftc -emit-module -module-name CoreVideo CoreVideo.swift -o CoreVideo.swiftmodule &&
swiftc -emit-module -module-name CoreML -I . CoreML.swift -o CoreML.swiftmodule &&
swiftc -emit-module -module-name EdgeViTCore -swift-version 5 EdgeViTCore/*.swift -o EdgeViTCore.swiftmodule &&
swiftc -typecheck -swift-version 5 -I . PreparedPicture.swift ModelRunner.swift
"""


@pytest.mark.slow
def test_the_runner_s_types_fit_core_ml_s_signatures(tmp_path):
    """Against stubs: that no call has a wrong name, type, try or await."""
    for path in STUBS.glob("*.swift"):
        shutil.copy(path, tmp_path)
    shutil.copytree(NOTES / "Sources/EdgeViTCore", tmp_path / "EdgeViTCore")
    runner = (NOTES / "App/Sources/ModelRunner.swift").read_text()
    (tmp_path / "ModelRunner.swift").write_text(runner)
    done = swift(CHECK_TYPES, tmp_path, {})
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "ModelRunner.swift").write_text(runner.replace("model.prediction(from: input)", "model.predict(input)"))
    assert "has no member 'predict'" in swift(CHECK_TYPES, tmp_path, {}).stderr


def swift(script, scratch, environment):
    try:
        return swift_toolchain.run(script, NOTES, scratch, environment)
    except ValueError as e:
        pytest.skip(f"no Swift toolchain, see swift.org/install: {e}")


def make_model(folder):
    """Return a made-up .mlpackage, as far as its manifest."""
    return made_up_models.write_model(folder, "small.mlpackage", changes={"target": "coreml"})
