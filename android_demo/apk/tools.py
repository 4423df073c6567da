"""Fetch, by package name, what building and checking an APK takes. Everything goes into a private cache."""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder
from edge_vit.devices import packages

# Debian release -> packages. dx and android.jar are no longer in later releases.
BUILD_SUITE, BUILD_PACKAGES = "bookworm", ("aapt", "zipalign", "apksigner", "enjarify")
DEX_SUITE, DEX_PACKAGES = "bullseye", ("dalvik-exchange", "libandroid-23-java", "proguard-cli")
# The last release of the binding that carries binaries; ExecuTorch is BSD-3-Clause, the binding MIT.
EXECUTORCH_NPM = ("react-native-executorch", "0.9.3")
# The last minor release that ships its AARs inside the npm package; MIT. Only two C++ libraries are taken from it.
FBJNI_NPM = ("react-native", "0.70.15")
ANDROGUARD = (
    "androguard==4.1.4", "loguru==0.7.3", "lxml==6.1.3", "apkInspector==1.3.7", "asn1crypto==1.5.1",
    "cryptography==50.0.2", "cffi==2.1.1", "colorama==0.4.6", "mutf8==1.1.0",
)  # fmt: skip
ABI = "arm64-v8a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where everything lies."""

    build: Path
    dex: Path
    executorch: Path
    fbjni: Path
    androguard: Path

    @property
    def android_jar(self) -> Path:
        return self.dex / "usr/lib/android-sdk/platforms/android-23/android.jar"

    @property
    def executorch_jar(self) -> Path:
        return self.executorch / "classes.jar"

    @property
    def native_libraries(self) -> tuple[Path, ...]:
        return (
            self.executorch / "libexecutorch.so",
            self.fbjni / "libfbjni.so",
            self.fbjni / "libc++_shared.so",
        )

    def aapt2(self, *arguments: object) -> str:
        """Run aapt2."""
        return self._native("usr/lib/android-sdk/build-tools/debian/aapt2", *arguments)

    def zipalign(self, *arguments: object) -> str:
        """Run zipalign."""
        return self._native("usr/bin/zipalign", *arguments)

    def apksigner(self, *arguments: object) -> str:
        """Run apksigner."""
        jars = self.build / "usr/share/java"
        classpath = f"{jars / 'apksigner.jar'}:{jars / 'apksig.jar'}"
        return run(["java", "-cp", classpath, "com.android.apksigner.ApkSignerTool", *arguments])

    def proguard(self, *arguments: object) -> str:
        """Run ProGuard."""
        return run(["java", "-jar", self.dex / "usr/share/java/proguard.jar", *arguments])

    def dx(self, *arguments: object) -> str:
        """Run dx."""
        classpath = self.dex / "usr/share/java/com.android.dx.jar"
        return run(["java", "-cp", classpath, "com.android.dx.command.Main", "--dex", *arguments])

    def enjarify(self, apk: Path, jar: Path) -> str:
        """Turn the dex of an APK back into a jar."""
        environment = {"PYTHONPATH": str(self.build / "usr/lib/python3/dist-packages"), "PATH": "/usr/bin:/bin"}
        return run([sys.executable, "-O", "-W", "ignore", "-m", "enjarify.main", "-f", "-o", jar, apk], environment)

    def _native(self, program: str, *arguments: object) -> str:
        libraries = [p for p in (self.build / "usr/lib").glob("*-linux-gnu") if p.is_dir()]
        folders = [*(p / "android" for p in libraries), *libraries]
        folders += [self.build / "usr/lib", self.build / "usr/lib/p7zip"]
        return run([self.build / program, *arguments], {"LD_LIBRARY_PATH": ":".join(map(str, folders))})


def run(command: Sequence[object], environment: dict[str, str] | None = None) -> str:
    """Run a program and return its output.

    Raises:
        ValueError: If it fails, with the last lines it said.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600, env=environment)
    if done.returncode:
        said = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise ValueError(f"{Path(words[0]).name} failed with exit code {done.returncode}:\n  {said}")
    return done.stdout


def prepare(cache_dir: Path | None = None) -> Tools:
    """Fetch everything, or return what is already there.

    Raises:
        ValueError: If a JDK or npm is missing, or a package cannot be had, naming it.
    """
    for program, package in (("javac", "openjdk-17-jdk-headless"), ("npm", "npm")):
        if not shutil.which(program):
            raise ValueError(f"building the APK needs {program}; on Debian: apt-get install {package}")
    cache = cache_folder(cache_dir) / "android"
    host = packages.host_architecture()
    return Tools(
        build=packages.fetch_debian(cache / f"build-{BUILD_SUITE}-{host}", BUILD_SUITE, host, BUILD_PACKAGES),
        dex=packages.fetch_debian(cache / f"dex-{DEX_SUITE}-{host}", DEX_SUITE, host, DEX_PACKAGES),
        executorch=packages.once(cache / "-".join(EXECUTORCH_NPM), _fill_executorch),
        fbjni=packages.once(cache / f"fbjni-{'-'.join(FBJNI_NPM)}", _fill_fbjni),
        androguard=packages.once(cache / ANDROGUARD[0].replace("==", "-"), _fill_androguard),
    )


def _fill_executorch(part: Path) -> None:
    wanted = ("package/android/libs/classes.jar", f"package/third-party/android/libs/executorch/{ABI}/libexecutorch.so")
    _unpack_npm(EXECUTORCH_NPM, part, wanted)


def _fill_fbjni(part: Path) -> None:
    name, version = FBJNI_NPM
    archive = f"package/android/com/facebook/react/{name}/{version}/{name}-{version}-release.aar"
    _unpack_npm(FBJNI_NPM, part, (archive,))
    aar = part / Path(archive).name
    with zipfile.ZipFile(aar) as opened:
        for library in ("libfbjni.so", "libc++_shared.so"):
            (part / library).write_bytes(opened.read(f"jni/{ABI}/{library}"))
    aar.unlink()


def _unpack_npm(package: tuple[str, str], folder: Path, members: Sequence[str]) -> None:
    """Fetch an npm package and unpack some of its files into one flat folder; no script of it is run."""
    name = "@".join(package)
    with tempfile.TemporaryDirectory(prefix="edge_vit-npm-") as scratch:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", scratch, name]
        packages.call(command, f"the npm package {name}")
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as opened:
            for member in members:
                data = opened.extractfile(member)
                assert data is not None
                (folder / Path(member).name).write_bytes(data.read())


def _fill_androguard(part: Path) -> None:
    """Install androguard by itself: it would pull in far more than reading a dex takes."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    packages.call([*command, "--target", str(part), *ANDROGUARD], f"the PyPI package {ANDROGUARD[0]}")


def gradle_value(text: str, name: str) -> str:
    """Return the value of `name` in a build.gradle.kts, quoted or not.

    Raises:
        ValueError: If it is not set there exactly once.
    """
    found = re.findall(rf"^\s*{name}\s*=\s*[\"']?([^\"'\s]+)[\"']?\s*$", text, re.M)
    if len(found) != 1:
        raise ValueError(f"app/build.gradle.kts sets {name} {len(found)} times; expected once")
    return found[0]
