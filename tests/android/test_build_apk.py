"""The APK is built from packages, and every check on it finds what it is there to find."""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from android_demo import build_apk
from android_demo.apk import check, elf, golden, tools
from android_demo.apk import compile as compiling
from edge_vit.devices import records


@pytest.fixture(scope="module")
def fetched():
    try:
        return tools.prepare()
    except ValueError as e:
        pytest.skip(f"the packages for building an APK are not to be had: {e}")


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """Assets of the test's own: the app's must not change under somebody's hands."""
    folder = tmp_path_factory.mktemp("assets")
    before, compiling.ASSETS = compiling.ASSETS, folder
    yield folder
    compiling.ASSETS = before


@pytest.fixture(scope="module")
def built(fetched, assets, tmp_path_factory):
    """A signed APK with a made-up model, and the folder of what lies in between."""
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("apk")
    (assets / "models").mkdir()
    (assets / "models" / "a.pte").write_bytes(b"model" * 1000)
    compiling.build(fetched, work, out / "demo.apk")
    return out / "demo.apk", work


@pytest.mark.slow
def test_everything_but_the_model_is_in_order(fetched, built):
    apk, _ = built
    dex = check._read_dex(fetched, apk)
    badging = fetched.aapt2("dump", "badging", apk)
    for one in (check.check_signature(fetched, apk), check.check_alignment(fetched, apk), check.check_badging(badging)):
        assert one.problems == (), one
    assert check.check_classes(fetched, dex).problems == ()
    assert "native-code: 'arm64-v8a'" in check.badging_lines(badging)


@pytest.mark.slow
def test_other_flavours_compile_against_stubs(fetched, built, tmp_path):
    _, work = built
    for flavour in ("litert", "full"):
        classes = compiling.compile_java(fetched, flavour, work / "generated", tmp_path / flavour)
        assert (classes / "edgevit/demo/CompiledModelClassifier.class").exists()
        assert not (classes / "org/tensorflow").exists() and not (classes / "com/google").exists()


@pytest.mark.slow
def test_the_benchmark_in_the_dex_ends_in_the_background_and_tells_everything(fetched, built, make_model, tmp_path):
    """The very bytecode of the APK, turned back into a jar."""
    apk, _ = built
    jar = tmp_path / "from_apk.jar"
    fetched.enjarify(apk, jar)
    probe = check.compile_probe(tmp_path)
    model = make_model()
    record = {"do": "record", "folder": str(model.parent), "model": model.name, "runs": 60, "heat": "light"}
    requests = [
        {"do": "guard", "events": ["", "background"]},
        {"do": "kernel", "root": "/"},
        {"do": "fallback", "asked": "NPU", "working": ["CPU"]},
        record | {"samples_us": [4000.0 + i % 7 for i in range(60)]},
        {"do": "turns", "latencies_us": [2000, 5000], "runs": 25},
        {"do": "turns", "latencies_us": [2000, 5000], "runs": 25, "stop_after": 60},
        {"do": "states"},
    ]
    stopped, kernel, fallback, made, turns, ended, states = golden.ask(["java", "-Xverify:all"], [jar, probe], requests)
    assert stopped == {"num_samples": 2, "reason": "the app went to the background"}
    assert kernel["peak_kb"] > 10_000 and fallback["accelerator"] == "CPU instead of NPU"
    assert turns["counts"] == [[25] * 4] * 2 and turns["order"] == [2000, 5000, 2000, 5000, 2000]
    assert ended["counts"] == [[25], [25, 10]]
    assert [len(states[name]["charts"]) for name in ("measured", "compared", "live", "classified")] == [2, 2, 2, 0]
    whole = made["record"]
    assert whole["is_complete"] and whole["figures"]["marks"] == ["hot (light)"]
    assert {f.name for f in dataclasses.fields(records.Record)} - whole.keys() == {
        "output", "output_max_difference", "output_not_compared",
    }  # fmt: skip
    assert whole["state_before"].keys() >= {"thermal_status", "thermal_headroom", "battery_c", "clocks_khz", "app"}
    assert whole["rounds"][0].keys() >= {"samples_us", "warmup_us", "load_us", "first_us", "is_steady"}


@pytest.mark.slow
def test_the_test_for_farms_compiles(fetched, built, tmp_path):
    _, work = built
    classes = compiling.compile_tests(fetched, work / "classes", tmp_path / "tests")
    assert (classes / "edgevit/demo/BenchTest.class").exists()


@pytest.mark.slow
def test_a_changed_file_breaks_the_signature(fetched, built, tmp_path):
    apk, _ = built
    broken = tmp_path / "broken.apk"
    data = bytearray(apk.read_bytes())
    at = data.index(b"modelmodel")
    data[at] ^= 1
    broken.write_bytes(data)
    assert "APK integrity check failed" in check.check_signature(fetched, broken).problems[0]


@pytest.mark.slow
def test_an_unaligned_file_is_found(fetched, built, tmp_path):
    _, work = built
    odd = tmp_path / "odd.apk"
    with zipfile.ZipFile(odd, "w") as target, zipfile.ZipFile(work / "unaligned.apk") as source:
        target.writestr("a", b"x")  # shifts everything behind it
        for entry in source.infolist():
            target.writestr(entry, source.read(entry))
    assert check.check_alignment(fetched, odd).problems


@pytest.mark.slow
def test_missing_classes_methods_and_natives_are_found(fetched, built, tmp_path):
    apk, _ = built
    dex = check._read_dex(fetched, apk)
    gone = dex["defined"].pop("Lcom/facebook/jni/HybridData;")
    assert "class Lcom/facebook/jni/HybridData; is nowhere" in check.check_classes(fetched, dex).problems
    (tmp_path / "a").mkdir()
    found = check.check_libraries(apk, dex, tmp_path / "a").problems
    assert "native code looks up class com/facebook/jni/HybridData, which is not in the dex" in found
    dex["defined"]["Lcom/facebook/jni/HybridData;"] = gone
    gone["methods"].pop("isValid()Z", None)
    gone["methods"]["resetEverything()V"] = check.NATIVE_FLAG
    (tmp_path / "b").mkdir()
    found = check.check_libraries(apk, dex, tmp_path / "b").problems
    assert found == ("native method Lcom/facebook/jni/HybridData;resetEverything()V is in no library",)
    gone["methods"].pop("resetNative()V")
    assert any("resetNative()V is nowhere" in problem for problem in check.check_classes(fetched, dex).problems)


@pytest.mark.slow
def test_a_missing_library_and_a_symbol_of_a_newer_android_are_found(fetched, built, tmp_path, monkeypatch):
    apk, _ = built
    less = tmp_path / "less.apk"
    with zipfile.ZipFile(less, "w") as target, zipfile.ZipFile(apk) as source:
        for entry in source.infolist():
            if not entry.filename.endswith("libc++_shared.so"):
                target.writestr(entry, source.read(entry))
    monkeypatch.setitem(check.SYSTEM_VERSIONS, "LIBC_N", 34)
    assert check.check_libraries(less, check._read_dex(fetched, apk), tmp_path).problems == (
        "libexecutorch.so wants __write_chk LIBC_N, which Android 26 has not",
        "libfbjni.so needs libc++_shared.so",
    )


def test_assets_that_differ_are_found(make_model, tmp_path):
    model, other = make_model("a.pte"), make_model("b.pte")
    apk = tmp_path / "a.apk"
    with zipfile.ZipFile(apk, "w") as target:
        target.writestr("assets/models/a.pte", b"other")
        target.writestr("assets/models/old.pte", b"old")
        target.write(f"{model}.json", "assets/models/a.pte.json")
    assert check.check_assets(apk, [model]).problems == (
        "assets/models/old.pte was not exported now",
        f"assets/models/a.pte differs from {model}",
    )
    assert "assets/models/b.pte is missing" in check.check_assets(apk, [model, other]).problems


def test_badging_of_another_app_is_found():
    found = check.check_badging("package: name='other' versionCode='1'\nsdkVersion:'21'\n").problems
    assert any("badging lacks package: name='edgevit.demo'" in problem for problem in found)
    assert "badging lacks native-code: 'arm64-v8a'" in found


def test_what_is_no_library_is_refused(tmp_path):
    (tmp_path / "liba.so").write_bytes(b"\x7fELF\x01\x01" + bytes(100))
    with pytest.raises(ValueError, match=r"liba\.so is no 64-bit little-endian ELF file"):
        elf.read(tmp_path / "liba.so")


def test_gradle_values():
    info = compiling.read_gradle()
    assert (info.application_id, info.min_sdk) == ("edgevit.demo", "26")
    with pytest.raises(ValueError, match=r"app/build\.gradle\.kts sets minSdk 0 times; expected once"):
        tools.gradle_value("minSdkVersion 21", "minSdk")


def test_a_failing_tool_says_why():
    with pytest.raises(ValueError, match=r"javac failed with exit code 2:\n .*invalid flag"):
        tools.run(["javac", "--no-such-flag"])


def test_missing_programs_are_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(ValueError, match="needs javac; on Debian: apt-get install openjdk-17-jdk-headless"):
        tools.prepare()


def test_a_tflite_cannot_be_built_here(make_model, capsys):
    model = make_model("a.tflite", changes={"target": "tflite"})
    assert build_apk.main([str(model)]) == 1
    assert "only the ExecuTorch flavour can be built without Google's SDK" in capsys.readouterr().err


def test_without_a_model_levit_128s_is_converted_first(monkeypatch, capsys):
    from edge_vit import convert

    asked = []
    monkeypatch.setattr(convert, "main", lambda words: asked.append(words) or 2)
    assert build_apk.main([]) == 1
    assert asked == [["levit_128s", "--target", "executorch", "--int8", "--output-dir", "artifacts"]]
    assert "levit_128s could not be converted (exit code 2)" in capsys.readouterr().err


def test_failed_checks_fail_the_command(make_model, monkeypatch, capsys):
    bad = check.Check(name="assets", detail="", problems=("a.pte differs",))
    result = build_apk.BuildResult(apk="a.apk", num_bytes=1, checks=(bad,), badging=())
    monkeypatch.setattr(build_apk, "run", lambda config: result)
    assert build_apk.main([str(make_model())]) == 1
    assert "failed assets: a.pte differs" in capsys.readouterr().out
    assert build_apk.main([str(make_model()), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["checks"][0]["problems"] == ["a.pte differs"]


def test_no_third_party_binary_is_committed():
    kinds = {".jar", ".so", ".aar", ".apk", ".dex", ".class", ".keystore", ".pte", ".tflite"}
    demo = Path(build_apk.__file__).parent
    found = [p for p in demo.rglob("*") if p.suffix in kinds and not {"assets", "build"} & set(p.parts)]
    assert found == []
