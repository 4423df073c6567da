"""The Gradle project holds together as far as that shows without Gradle, and the checker finds what is planted."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from android_demo.apk import gradle_project

ROOT = Path(__file__).parents[2]
CATALOGUE, APP = "gradle/libs.versions.toml", "app/build.gradle.kts"
MANIFEST, MAIN = "app/src/main/AndroidManifest.xml", "app/src/main/java/edgevit/demo/MainActivity.java"
STRINGS = "app/src/main/res/values/strings.xml"
# What is planted: file, what stands there, what instead, and what the checker must say.
PLANTED = {
    "gradle too old": (CATALOGUE, 'gradle = "9.6.1"', 'gradle = "9.1.0"', "needs Gradle 9.6.0 or newer"),
    "another wrapper": ("gradle/wrapper/gradle-wrapper.properties", "9.6.1", "9.9.0", "fetches another Gradle"),
    "unknown plugin": (CATALOGUE, 'agp = "9.4.0"', 'agp = "9.7.0"', "not in the compatibility table"),
    "old target": (APP, "targetSdk = 36", "targetSdk = 35", "targetSdk 35 is below 36, which the store takes"),
    "compileSdk too new": (APP, "compileSdk = 36", "compileSdk = 38", "compileSdk 38 is above 37"),
    "no AndroidX": ("gradle.properties", "useAndroidX=true", "useAndroidX=false", "lacks android.useAndroidX=true"),
    "missing folder": (APP, "src/runtimeLitert/java", "src/runtimeLiteRt/java", "no folder app/src/runtimeLiteRt/java"),
    "old source sets": (APP, "java.directories.add(", "java.srcDirs(", "sets srcDirs"),
    "lost dependency": (
        APP, '"fullImplementation"(libs.litert)', "", "full: InterpreterClassifier.java imports org.tensorflow.lite.",
    ),
    "unknown alias": (APP, "(libs.executorch.android)", "(libs.executorch)", "which the catalogue has not"),
    "lone version": (
        APP, "Implementation(libs.androidx.test.runner)", 'Implementation("androidx.test:runner:1.7.0")',
        "gives a version of its own: androidx.test:runner:1.7.0",
    ),
    "lost version": (CATALOGUE, 'litert = "2.3.2"', 'lite = "2.3.2"', "refers to version litert"),
    "lost permission": (MANIFEST, "permission.CAMERA", "permission.RECORD_AUDIO", "CAMERA is called for and not"),
    "vain permission": (MANIFEST, "permission.CAMERA", "permission.RECORD_AUDIO", "nothing calls for it"),
    "lost activity": (MANIFEST, ".BenchActivity", ".OtherActivity", "activity BenchActivity is not in the manifest"),
    "exported unsaid": (MANIFEST, 'android:exported="true"', "", "does not say whether MainActivity is exported"),
    "lost resource": (STRINGS, 'name="app_name"', 'name="name"', "AndroidManifest.xml uses string/app_name"),
    "lost view": (
        "app/src/main/res/layout/chart.xml", "edgevit.demo.ChartView", "edgevit.demo.ChartsView",
        "layout/chart.xml names the view edgevit.demo.ChartsView, which is no class",
    ),
    "view of code": (
        "app/src/main/java/edgevit/demo/ChartView.java", "Context context, AttributeSet attributes", "Context context",
        "edgevit.demo.ChartView has no public constructor that a layout can call",
    ),
    "foreign import": (MAIN, "import android.app.Activity;", "import android.app.Activity;\nimport okhttp3.Call;",
                       "imports okhttp3.Call, which no declared dependency serves"),
}  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """A copy of the project, without what was built or put in."""
    ignored = shutil.ignore_patterns("screens", "offline", "assets", "__pycache__", "build")
    return Path(shutil.copytree(ROOT / "android_demo", tmp_path / "android_demo", ignore=ignored))


def test_nothing_is_wrong(capsys):
    assert gradle_project.main([]) == 0
    assert capsys.readouterr().out.endswith("4 scripts, nothing wrong\n")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(name, copy, capsys):
    path, before, after, message = PLANTED[name]
    text = (copy / path).read_text()
    assert before in text
    (copy / path).write_text(text.replace(before, after))
    assert gradle_project.main([str(copy)]) == 1
    assert message in capsys.readouterr().out


def test_test_sources_without_a_test_are_found(copy):
    (copy / "core/src/test/java").mkdir(parents=True)
    (copy / "core/src/test/java/Probe.java").write_text("class Probe {}")
    (found,) = gradle_project.check(gradle_project.read(copy))
    assert found == "core/src/test holds sources and no test; Gradle 9 fails on that"


def test_texts_must_be_in_every_language(copy):
    other = copy / "app/src/main/res/values-xx/strings.xml"
    other.parent.mkdir()
    other.write_text('<resources><string name="app_name">x</string><string name="odd">y</string></resources>')
    found = gradle_project.check(gradle_project.read(copy))
    assert "values-xx lacks string model" in found and "values-xx has string odd, which values has not" in found


def test_words_of_a_layouts_own_are_found(copy):
    path = copy / "app/src/main/res/layout/row.xml"
    path.write_text(path.read_text().replace('style="@style/Percent"', 'style="@style/Percent" android:text="0 %"'))
    assert gradle_project.check(gradle_project.read(copy)) == ["layout/row.xml says '0 %' in words of its own"]


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is not the Gradle project: it has no gradle/libs\.versions\.toml"):
        gradle_project.read(tmp_path)


def test_the_runtime_is_of_the_release_that_converts():
    """ExecuTorch promises nothing about files of another release line."""
    own = gradle_project.read().catalogue["versions"]["executorch"]
    found = re.search(r'"executorch>=([\d.]+),<([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    least, below = (tuple(map(int, one.split("."))) for one in found.groups())
    assert least <= tuple(map(int, own.split(".")))[:2] < below


def test_the_wrapper_says_what_to_do(copy):
    done = subprocess.run([copy / "gradlew", "tasks"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.endswith("install Gradle once and run: gradle wrapper\n")
    assert "gradle wrapper" in (copy / "gradlew.bat").read_text()
    assert not list((ROOT / "android_demo").rglob("*.jar"))


def test_versions_are_cited():
    """README.md says where each version of the catalogue was looked up."""
    project, text = gradle_project.read(), (ROOT / "android_demo/README.md").read_text()
    for name, version in project.catalogue["versions"].items():
        assert version in text, f"README.md does not cite {name} {version}"
