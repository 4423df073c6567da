"""Build a signed APK from the app's sources with aapt2, javac, ProGuard, dx, zipalign and apksigner."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from android_demo.apk.tools import ABI, Tools, gradle_value, run

DEMO = Path(__file__).parents[1]
APP = DEMO / "app" / "src"
OFFLINE = DEMO / "offline"
ASSETS = APP / "main" / "assets"
# Stripped to what the library looks up by name; the rest wants Kotlin's library.
EXECUTORCH_CLASSES = (
    "org/pytorch/executorch/*.class,org/pytorch/executorch/annotations/*.class,"
    "org/pytorch/executorch/extension/llm/*.class,org/pytorch/executorch/training/*.class"
)
FLAVOURS = {
    "executorch": ("executorch", "runtimeExecutorch"),
    "litert": ("litert", "runtimeLitert"),
    "full": ("full", "runtimeExecutorch", "runtimeLitert"),
}
STAMP = (2020, 1, 1, 0, 0, 0)  # of every file in the APK, so that equal sources give equal bytes
PASSWORD = "android"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppInfo:
    """What app/build.gradle.kts says about the app."""

    namespace: str
    application_id: str
    min_sdk: str
    target_sdk: str
    version_code: str
    version_name: str


def read_gradle(path: Path = DEMO / "app" / "build.gradle.kts") -> AppInfo:
    """Take names, versions and SDK levels from where Gradle takes them."""
    text = path.read_text()
    return AppInfo(
        namespace=gradle_value(text, "namespace"),
        application_id=gradle_value(text, "applicationId"),
        min_sdk=gradle_value(text, "minSdk"),
        target_sdk=gradle_value(text, "targetSdk"),
        version_code=gradle_value(text, "versionCode"),
        version_name=gradle_value(text, "versionName"),
    )


def build(tools: Tools, work: Path, apk: Path) -> None:
    """Build the ExecuTorch flavour.

    Args:
        tools: What `tools.prepare` returned.
        work: An empty folder for what lies in between.
        apk: Where the APK goes. It carries whatever lies in app/src/main/assets.

    Raises:
        ValueError: If a tool refuses something, with what it said.
    """
    info = read_gradle()
    generated = link_resources(tools, info, work)
    classes = compile_java(tools, "executorch", generated, work / "classes")
    dex = make_dex(tools, classes, work)
    unaligned, aligned = work / "unaligned.apk", work / "aligned.apk"
    _package(work / "resources.apk", dex, tools, unaligned)
    # Page alignment matters for libraries that lie uncompressed in the APK; these are compressed, see the manifest.
    tools.zipalign("-f", "-p", "4", unaligned, aligned)
    sign(tools, aligned, apk, work)


def link_resources(tools: Tools, info: AppInfo, work: Path) -> Path:
    """Compile resources and manifest into resources.apk; return the folder of the generated R class."""
    generated = work / "generated"
    generated.mkdir()
    manifest = (APP / "main" / "AndroidManifest.xml").read_text()
    # What Gradle adds: the package's name, the application's, and that the libraries are unpacked when installed.
    manifest = manifest.replace("<manifest ", f'<manifest package="{info.namespace}" ', 1)
    manifest = manifest.replace("<application\n", '<application\n        android:extractNativeLibs="true"\n', 1)
    manifest = manifest.replace("${applicationId}", info.application_id)
    (work / "AndroidManifest.xml").write_text(manifest)
    tools.aapt2("compile", "--dir", APP / "main" / "res", "-o", work / "resources.zip")
    tools.aapt2(
        "link", "-o", work / "resources.apk", "-I", tools.android_jar, "--manifest", work / "AndroidManifest.xml",
        "--java", generated, "--min-sdk-version", info.min_sdk, "--target-sdk-version", info.target_sdk,
        "--version-code", info.version_code, "--version-name", info.version_name,
        "--rename-manifest-package", info.application_id, work / "resources.zip",
    )  # fmt: skip
    return generated


def compile_java(tools: Tools, flavour: str, generated: Path, into: Path) -> Path:
    """Compile a flavour's sources with all warnings as errors, and return the folder of its classes.

    LiteRT's library is not to be had here: its flavours are compiled against signature stubs, which lie apart.
    """
    lambdas, stubs = into.with_name(into.name + "-lambdas"), into.with_name(into.name + "-stubs")
    for folder in (into, lambdas, stubs):
        folder.mkdir(parents=True)
    javac = _javac()
    run([*javac, tools.android_jar, "-d", lambdas, *_java(OFFLINE / "lambda_stubs")])
    platform = f"{tools.android_jar}:{lambdas}"
    classpath = [tools.executorch_jar]
    if "runtimeLitert" in FLAVOURS[flavour]:
        run([*javac, platform, "-d", stubs, *_java(OFFLINE / "litert_stubs")])
        classpath.append(stubs)
    sources = _java(DEMO / "core" / "src" / "main") + _java(APP / "main" / "java") + _java(generated)
    for name in FLAVOURS[flavour]:
        sources += _java(APP / name)
    if "runtimeExecutorch" in FLAVOURS[flavour]:
        sources += _java(OFFLINE / "fbjni_bridge")
    run([*javac, platform, "-cp", ":".join(map(str, classpath)), "-d", into, *sources])
    return into


def compile_tests(tools: Tools, classes: Path, into: Path) -> Path:
    """Compile the instrumentation test against a flavour and signature stubs; return the folder of its classes."""
    stubs = into.with_name(into.name + "-junit")
    for folder in (into, stubs):
        folder.mkdir(parents=True)
    platform = f"{tools.android_jar}:{classes.with_name(classes.name + '-lambdas')}"
    run([*_javac(), platform, "-d", stubs, *_java(OFFLINE / "junit_stubs")])
    run([*_javac(), platform, "-cp", f"{classes}:{stubs}", "-d", into, *_java(APP / "androidTest")])
    return into


def _javac() -> list[str]:
    warnings = "-Xlint:all,-options,-serial,-deprecation,-classfile"
    return ["javac", "-encoding", "UTF-8", warnings, "-Werror", "-source", "8", "-target", "8", "-bootclasspath"]


def make_dex(tools: Tools, classes: Path, work: Path) -> Path:
    """Join the app's and ExecuTorch's classes, lower them to what dx takes, and return the dex."""
    jar, dex = work / "classes.jar", work / "classes.dex"
    lambdas = classes.with_name(classes.name + "-lambdas")
    tools.proguard(
        "-injars", classes, "-injars", f"{tools.executorch_jar}({EXECUTORCH_CLASSES})", "-outjars", jar,
        "-libraryjars", f"{tools.android_jar}:{lambdas}", "-include", OFFLINE / "app.pro",
    )  # fmt: skip
    tools.dx(f"--min-sdk-version={read_gradle().min_sdk}", f"--output={dex}", jar)
    return dex


def sign(tools: Tools, source: Path, target: Path, work: Path) -> None:
    """Sign with a key made for this build: good for installing by adb, not for a store."""
    key = work / "debug.keystore"
    if not key.exists():
        keytool = ["keytool", "-genkeypair", "-keystore", str(key), "-storepass", PASSWORD, "-keypass", PASSWORD]
        keytool += ["-alias", "debug", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"]
        run([*keytool, "-dname", "CN=edge_vit debug"])
    part = target.with_name(f".{target.name}.part")
    options = ["--ks", key, "--ks-pass", f"pass:{PASSWORD}", "--min-sdk-version", read_gradle().min_sdk]
    options += ["--v1-signing-enabled", "false", "--v4-signing-enabled", "false"]
    tools.apksigner("sign", *options, "--out", part, source)
    part.rename(target)


def _package(resources: Path, dex: Path, tools: Tools, target: Path) -> None:
    """Add code, libraries and assets to what aapt2 linked. Models lie uncompressed: int8 weights hardly shrink."""
    shutil.copy(resources, target)
    with zipfile.ZipFile(target, "a") as apk:
        _add(apk, dex, "classes.dex", zipfile.ZIP_DEFLATED)
        for library in tools.native_libraries:
            _add(apk, library, f"lib/{ABI}/{library.name}", zipfile.ZIP_DEFLATED)
        for path in sorted(p for p in ASSETS.rglob("*") if p.is_file()):
            is_text = path.suffix == ".json"
            method = zipfile.ZIP_DEFLATED if is_text else zipfile.ZIP_STORED
            _add(apk, path, f"assets/{path.relative_to(ASSETS).as_posix()}", method)


def _add(apk: zipfile.ZipFile, path: Path, name: str, method: int) -> None:
    entry = zipfile.ZipInfo(name, STAMP)
    entry.external_attr = 0o644 << 16
    entry.compress_type = method
    apk.writestr(entry, path.read_bytes())


def _java(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.java"))
