"""Check an APK as far as that is possible without a phone and without Google's SDK."""

import hashlib
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.apk import compile as compiling
from android_demo.apk import dex_report, elf, golden
from android_demo.apk.tools import ABI, Tools, run
from converters.manifest import manifest_path

# Part of every Android: developer.android.com/ndk/guides/stable_apis.
SYSTEM_LIBRARIES = {"libc.so", "libm.so", "libdl.so", "liblog.so", "libandroid.so"}
# Android's C library names its versions after releases; the API level of each.
SYSTEM_VERSIONS = {"LIBC": 21, "LIBC_N": 24, "LIBC_O": 26, "LIBC_P": 28, "LIBC_Q": 29, "LIBC_R": 30}
LOG_SYMBOLS = re.compile(r"__android_log_\w+")
# Names of classes that native code looks up: the packages whose Java half we bring.
LOOKED_UP = re.compile(rb"(?<![\w/])L?((?:org/pytorch/executorch|com/facebook/jni)/[\w/$]+);?\0")
# Looked up only by a class that the APK does not carry, so never.
UNUSED = ("org/pytorch/executorch/extension/asr/",)
NATIVE_FLAG = 0x100
# Written by dx and read by the runtime itself: source.android.com/docs/core/runtime/dex-format.
SYSTEM_ANNOTATIONS = "Ldalvik/annotation/"
SHOWN_BADGING = (
    "package", "sdkVersion", "targetSdkVersion", "uses-permission", "application:", "launchable-activity",
    "native-code",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check and what it found; `problems` is empty when it passed."""

    name: str
    detail: str
    problems: tuple[str, ...] = ()


def check_apk(
    tools: Tools, apk: Path, artefacts: Sequence[Path], classify: Callable | None = None
) -> tuple[list[Check], str]:
    """Run all checks.

    Args:
        tools: What `tools.prepare` returned.
        apk: The APK.
        artefacts: The models that it must carry, with their manifests beside them.
        classify: Pixels to logits of the first of them, for its golden vectors; random logits by default.

    Returns:
        The checks, and aapt2's badging.
    """
    badging = tools.aapt2("dump", "badging", apk)
    dex = _read_dex(tools, apk)
    with tempfile.TemporaryDirectory(prefix="edge_vit-apk-") as scratch:
        checks = [
            check_signature(tools, apk),
            check_alignment(tools, apk),
            check_badging(badging),
            check_classes(tools, dex),
            check_assets(apk, artefacts),
            check_libraries(apk, dex, Path(scratch)),
            check_golden_vectors(tools, apk, artefacts[0], Path(scratch), classify),
        ]
    return checks, badging


def check_signature(tools: Tools, apk: Path) -> Check:
    """apksigner accepts the APK, by a scheme that covers the whole file."""
    try:
        said = tools.apksigner("verify", "--verbose", "--print-certs", "--min-sdk-version", "26", apk)
    except ValueError as e:
        return Check(name="signature", detail="", problems=(str(e),))
    schemes = re.findall(r"Verified using (v\d) scheme .*: true", said)
    problems = () if {"v2", "v3"} & set(schemes) else ("neither scheme v2 nor v3 verifies",)
    return Check(name="signature", detail=f"schemes {', '.join(schemes)}", problems=problems)


def check_alignment(tools: Tools, apk: Path) -> Check:
    """zipalign accepts the APK."""
    try:
        tools.zipalign("-c", "-p", "4", apk)
    except ValueError as e:
        return Check(name="alignment", detail="", problems=(str(e),))
    return Check(name="alignment", detail="4 bytes, libraries at pages")


def check_badging(badging: str) -> Check:
    """The installer would see the app that build.gradle.kts describes, startable, for ARM phones."""
    info = compiling.read_gradle()
    wanted = {
        f"package: name='{info.application_id}' versionCode='{info.version_code}' versionName='{info.version_name}'",
        f"sdkVersion:'{info.min_sdk}'",
        f"targetSdkVersion:'{info.target_sdk}'",
        f"launchable-activity: name='{info.namespace}.MainActivity'",
        f"native-code: '{ABI}'",
        "uses-feature-not-required: name='android.hardware.camera'",
    }
    missing = tuple(sorted(f"badging lacks {line}" for line in wanted if line not in badging))
    detail = f"{info.application_id} {info.version_name}, min SDK {info.min_sdk}"
    return Check(name="badging", detail=detail, problems=missing)


def badging_lines(badging: str) -> list[str]:
    """Return the lines of the badging that a reader wants to see."""
    return [line for line in badging.splitlines() if line.startswith(SHOWN_BADGING)]


def check_classes(tools: Tools, dex: dict) -> Check:
    """Every class that the dex names is its own or Android's; every method that it calls on its own classes exists."""
    with zipfile.ZipFile(tools.android_jar) as jar:
        platform = {f"L{name.removesuffix('.class')};" for name in jar.namelist() if name.endswith(".class")}
    own = dex["defined"]
    classes = {name.lstrip("[") for name in dex["types"]}
    known = own.keys() | platform
    named = {name for name in classes if name.startswith("L") and not name.startswith(SYSTEM_ANNOTATIONS)}
    unknown = sorted(named - known)
    problems = [f"class {name} is nowhere" for name in unknown]
    for owner, method in dex["references"]:
        if owner in own and not _has_method(own, platform, owner, method):
            problems.append(f"method {owner}{method} is nowhere")
    detail = f"{len(own)} classes, {len(dex['references'])} methods, {len(classes)} types resolve"
    return Check(name="classes", detail=detail, problems=tuple(problems))


def _has_method(own: dict, platform: set[str], owner: str, method: str) -> bool:
    """Look a method up in a class and above it; Android's classes have it, since the compiler found it there."""
    if owner not in own:
        return owner in platform and owner != "Ljava/lang/Object;"
    if method in own[owner]["methods"]:
        return True
    return any(_has_method(own, platform, above, method) for above in own[owner]["supers"])


def check_assets(apk: Path, artefacts: Sequence[Path]) -> Check:
    """The models and manifests inside are byte for byte those that were exported, and there are no others."""
    problems, total = [], 0
    paths = [path for artefact in artefacts for path in (artefact, manifest_path(artefact))]
    expected = {f"assets/models/{path.name}": path for path in paths}
    with zipfile.ZipFile(apk) as opened:
        inside = {name for name in opened.namelist() if name.startswith("assets/") and not name.endswith("/")}
        problems += [f"{name} is missing" for name in sorted(expected.keys() - inside)]
        problems += [f"{name} was not exported now" for name in sorted(inside - expected.keys())]
        for name in sorted(inside & expected.keys()):
            data = opened.read(name)
            total += len(data)
            if hashlib.sha256(data).digest() != hashlib.sha256(expected[name].read_bytes()).digest():
                problems.append(f"{name} differs from {expected[name]}")
    return Check(name="assets", detail=f"{len(expected)} files, {total:,} bytes equal", problems=tuple(problems))


def check_libraries(apk: Path, dex: dict, scratch: Path) -> Check:
    """All that the native libraries need is there: libraries, symbols, Java classes; and all native methods exist."""
    libraries = _unpack_libraries(apk, scratch)
    info = compiling.read_gradle()
    offered = frozenset().union(*(library.offered for library in libraries))
    names = {library.name for library in libraries}
    problems = [] if libraries else [f"no libraries for {ABI}"]
    num_symbols = 0
    for library in libraries:
        if library.machine != elf.AARCH64:
            problems.append(f"{library.name} is for machine {library.machine}, not aarch64")
        lacking = [name for name in library.needed if name not in names | SYSTEM_LIBRARIES]
        problems += [f"{library.name} needs {name}" for name in lacking]
        num_symbols += len(library.wanted)
        for symbol, version in library.wanted.items():
            level = SYSTEM_VERSIONS.get(version, 0 if LOG_SYMBOLS.fullmatch(symbol) else 99)
            if symbol not in offered and level > int(info.min_sdk):
                problems.append(f"{library.name} wants {symbol} {version}, which Android {info.min_sdk} has not")
    problems += _check_jni(libraries, dex)
    detail = f"{', '.join(sorted(names))}; {num_symbols} symbols, all looked-up classes and native methods there"
    if small := [library.name for library in libraries if library.page_size < 1 << 14]:
        detail += f"; on devices with 16 KB pages {', '.join(small)} would need a rebuild"
    return Check(name="native libraries", detail=detail, problems=tuple(problems))


def _check_jni(libraries: Sequence[elf.Library], dex: dict) -> list[str]:
    text = b"".join(library.text for library in libraries)
    problems = []
    for name in sorted({found.decode() for found in LOOKED_UP.findall(text)}):
        if f"L{name};" not in dex["defined"] and not name.startswith(UNUSED):
            problems.append(f"native code looks up class {name}, which is not in the dex")
    for owner, one in dex["defined"].items():
        for method, flags in one["methods"].items():
            name = method.split("(")[0].encode()
            if flags & NATIVE_FLAG and b"\0" + name + b"\0" not in text:
                problems.append(f"native method {owner}{method} is in no library")
    return problems


def check_golden_vectors(tools: Tools, apk: Path, artefact: Path, scratch: Path, classify: Callable | None) -> Check:
    """The very bytecode that ships, turned back into a jar, gives Python's bits and Python's top-3."""
    jar = scratch / "from_apk.jar"
    tools.enjarify(apk, jar)
    probe = compile_probe(scratch)
    vectors = golden.make(artefact, scratch / "pictures", classify)
    # The verifier is on for all classes, as it is on a phone.
    found = golden.compare(["java", "-Xverify:all"], [jar, probe], artefact, vectors)
    detail = f"{found.num_pictures} pictures, inputs equal to the bit, equal top-3"
    return Check(name="golden vectors", detail=detail, problems=found.failures)


def compile_probe(scratch: Path) -> Path:
    """Compile the probe and return the folder with its classes and none of the app's.

    It is compiled against the sources: a jar made from a dex does not say which classes lie within others.
    """
    core, probe = scratch / "core", scratch / "probe"
    javac = ["javac", "-nowarn", "-source", "8", "-target", "8", "-Xlint:-options", "-encoding", "UTF-8"]
    for sources, classpath, into in (("main", scratch, core), ("probe", core, probe)):
        into.mkdir()
        files = sorted((compiling.DEMO / "core" / "src" / sources).rglob("*.java"))
        run([*javac, "-cp", classpath, "-d", into, *files])
    return probe


def _unpack_libraries(apk: Path, scratch: Path) -> list[elf.Library]:
    libraries = []
    with zipfile.ZipFile(apk) as opened:
        for name in opened.namelist():
            if name.startswith(f"lib/{ABI}/"):
                libraries.append(elf.read(Path(opened.extract(name, scratch))))
    return libraries


def _read_dex(tools: Tools, apk: Path) -> dict:
    """Ask androguard, in a process of its own: its packages are none of ours."""
    script = Path(dex_report.__file__)
    return json.loads(run([sys.executable, script, apk], {"PYTHONPATH": str(tools.androguard)}))
