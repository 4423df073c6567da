"""Check the Gradle project as far as that is possible without running Gradle.

python -m android_demo.apk.gradle_project [FOLDER]

Held are: versions against the plugin's compatibility table, folders of source sets, imports against declared
dependencies, permissions against calls, components against classes, and resources against their uses.
"""

import argparse
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ANDROID = "{http://schemas.android.com/apk/res/android}"
DEMO = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """What a release line of Android's plugin asks for, as its release notes say (README.md cites them)."""

    least_gradle: tuple[int, ...]
    most_api: int


PLUGINS = {
    "9.0": Compatibility(least_gradle=(9, 1, 0), most_api=36),
    "9.1": Compatibility(least_gradle=(9, 2, 1), most_api=36),
    "9.4": Compatibility(least_gradle=(9, 6, 0), most_api=37),
}
STORE_TARGET = 36  # of new apps and updates since 31 August 2026, support.google.com/googleplay/android-developer
# Which library serves an import, by the alias in the version catalogue.
SERVES = {
    "org.pytorch.executorch.": "executorch-android",
    "org.tensorflow.lite.": "litert",
    "com.google.ai.edge.litert.": "litert",
    "androidx.test.platform.": "androidx-test-runner",
    "androidx.test.ext.junit.": "androidx-test-junit",
    "org.junit.": "androidx-test-junit",
}
PLATFORM = ("java.", "javax.", "android.", "edgevit.")
# Libraries whose own dependencies are AndroidX (androidx.core, androidx.annotation).
WANT_ANDROIDX = ("executorch-android", "androidx-test-runner", "androidx-test-junit")
# Calls that throw a SecurityException without the permission.
GUARDED = {
    r"\.openCamera\(": "android.permission.CAMERA",
    r"\b(HttpURLConnection|DatagramSocket|new Socket)\b": "android.permission.INTERNET",
    r"\b(MediaRecorder|AudioRecord)\b": "android.permission.RECORD_AUDIO",
    r"\.vibrate\(": "android.permission.VIBRATE",
    r"\.newWakeLock\(": "android.permission.WAKE_LOCK",
    r"\.startForeground\(": "android.permission.FOREGROUND_SERVICE",
}
COMPONENTS = ("activity", "service", "receiver", "provider")
KINDS = ("string", "color", "style", "drawable", "layout", "mipmap", "id", "plurals", "dimen", "xml", "bool", "array")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The project's files that the checks read."""

    folder: Path
    catalogue: dict
    app: str
    scripts: dict[str, str]

    @property
    def source(self) -> Path:
        return self.folder / "app" / "src"

    def flavours(self) -> list[str]:
        return re.findall(r'create\("(\w+)"\)', self.app)

    def source_folders(self, name: str) -> list[str]:
        """Return the folders that the script adds to a source set."""
        block = re.search(rf'getByName\("{name}"\)\s*\{{(.*?)\}}', self.app, re.S)
        return re.findall(r'java\.directories\.add\("([^"]+)"\)', block.group(1)) if block else []

    def java(self, *folders: Path) -> Iterator[tuple[Path, str]]:
        for folder in folders:
            for path in sorted(folder.rglob("*.java")):
                yield path, path.read_text()


def read(folder: Path = DEMO) -> Project:
    """Read a project.

    Raises:
        ValueError: If it has no version catalogue or no script for the app.
    """
    needed = (folder / "gradle/libs.versions.toml", folder / "app/build.gradle.kts")
    for path in needed:
        if not path.is_file():
            raise ValueError(f"{folder} is not the Gradle project: it has no {path.relative_to(folder)}")
    scripts = {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*.gradle.kts"))}
    return Project(
        folder=folder,
        catalogue=tomllib.loads(needed[0].read_text()),
        app=needed[1].read_text(),
        scripts=scripts,
    )


def check(project: Project) -> list[str]:
    """Return everything that is wrong, empty when nothing is."""
    found: list[str] = []
    checks = (versions, catalogue_uses, source_sets, imports, permissions, components, views, resources, translations)
    for one in checks:
        found += one(project)
    return found


def versions(project: Project) -> list[str]:
    """Plugin, Gradle and SDK levels go together, and the store takes the target."""
    own = project.catalogue["versions"]
    line = ".".join(own["agp"].split(".")[:2])
    if line not in PLUGINS:
        return [f"plugin {own['agp']} is not in the compatibility table; known are {', '.join(PLUGINS)}"]
    table, found = PLUGINS[line], []
    if _numbers(own["gradle"]) < table.least_gradle:
        least = ".".join(map(str, table.least_gradle))
        found.append(f"plugin {own['agp']} needs Gradle {least} or newer, the catalogue has {own['gradle']}")
    wrapper = (project.folder / "gradle/wrapper/gradle-wrapper.properties").read_text()
    if f"gradle-{own['gradle']}-bin.zip" not in wrapper:
        found.append(f"gradle-wrapper.properties fetches another Gradle than the catalogue's {own['gradle']}")
    compile_sdk, target, least = (_number(project.app, name) for name in ("compileSdk", "targetSdk", "minSdk"))
    if compile_sdk > table.most_api:
        found.append(f"compileSdk {compile_sdk} is above {table.most_api}, the most that plugin {own['agp']} supports")
    if not least <= target <= compile_sdk:
        found.append(f"minSdk {least}, targetSdk {target} and compileSdk {compile_sdk} do not ascend")
    if target < STORE_TARGET:
        found.append(f"targetSdk {target} is below {STORE_TARGET}, which the store takes")
    return found


def catalogue_uses(project: Project) -> list[str]:
    """Every alias that a script uses is in the catalogue and the other way round; no version stands elsewhere."""
    own, found, used = project.catalogue, [], set()
    aliases = {name.replace("-", "."): name for name in own["libraries"]}
    for name, text in project.scripts.items():
        for alias in re.findall(r"\(libs\.((?!plugins|versions)[\w.]+)\)", text):
            used.add(alias)
            if alias not in aliases:
                found.append(f"{name} uses libs.{alias}, which the catalogue has not")
        found += [
            f"{name} gives a version of its own: {one}" for one in re.findall(r'"([\w.]+:[\w.-]+:\d[^"]*)"', text)
        ]
        found += [f"{name} gives a version of its own: {one}" for one in re.findall(r'version "(\d[^"]*)"', text)]
        if re.search(r"\bsrcDirs?\b", text):
            found.append(f"{name} sets srcDirs; the plugin's way is java.directories.add")
    found += [f"library {name} is in no script" for alias, name in aliases.items() if alias not in used]
    for name, entry in [*own["libraries"].items(), *own["plugins"].items()]:
        reference = entry.get("version", {}).get("ref")
        if reference not in own["versions"]:
            found.append(f"{name} refers to version {reference}, which the catalogue has not")
    properties = (project.folder / "gradle.properties").read_text()
    needy = [name for name in WANT_ANDROIDX if name in own["libraries"]]
    if needy and "android.useAndroidX=true" not in properties:
        found.append(f"gradle.properties lacks android.useAndroidX=true, which {needy[0]} needs")
    return found


def source_sets(project: Project) -> list[str]:
    """Every folder of a source set exists, and test sources hold tests: Gradle 9 fails where they do not."""
    found = []
    for flavour in project.flavours():
        folders = [f"src/{flavour}/java", *project.source_folders(flavour)]
        missing = [name for name in folders if not (project.folder / "app" / name).is_dir()]
        found += [f"source set {flavour}: no folder app/{name}" for name in missing]
    for module in ("core", "app"):
        for name in ("test", "androidTest"):
            folder = project.folder / module / "src" / name
            texts = [text for _, text in project.java(folder)]
            if texts and not any("@Test" in text for text in texts):
                found.append(f"{module}/src/{name} holds sources and no test; Gradle 9 fails on that")
    return found


def imports(project: Project) -> list[str]:
    """Every import is Java's, Android's, our own, or served by a library that its flavour declares."""
    found = []
    for flavour in project.flavours():
        folders = [project.source / "main", project.source / flavour]
        folders += [project.folder / "app" / name for name in project.source_folders(flavour)]
        declared = _declared(project, "implementation", f"{flavour}Implementation")
        found += _unserved(project, folders, declared, flavour)
    tests = _declared(project, "androidTestImplementation")
    found += _unserved(project, [project.source / "androidTest"], tests, "androidTest")
    found += _unserved(project, [project.folder / "core/src/main"], set(), "core")
    return list(dict.fromkeys(found))


def _unserved(project: Project, folders: Sequence[Path], declared: set[str], name: str) -> list[str]:
    found = []
    for path, text in project.java(*folders):
        for one in re.findall(r"^import (?:static )?([\w.]+);", text, re.M):
            if one.startswith(PLATFORM):
                continue
            library = next((alias for prefix, alias in SERVES.items() if one.startswith(prefix)), None)
            if library not in declared:
                found.append(f"{name}: {path.name} imports {one}, which no declared dependency serves")
    return found


def _declared(project: Project, *configurations: str) -> set[str]:
    aliases = {name.replace("-", "."): name for name in project.catalogue["libraries"]}
    words = "|".join(configurations)
    return {aliases.get(a, a) for a in re.findall(rf'(?<![\w])"?(?:{words})"?\(libs\.([\w.]+)\)', project.app)}


def permissions(project: Project) -> list[str]:
    """The manifest declares what is called, and nothing that is not."""
    manifest = ET.parse(project.source / "main/AndroidManifest.xml").getroot()
    declared = {one.get(f"{ANDROID}name") for one in manifest.iter("uses-permission")}
    text = "\n".join(text for _, text in project.java(project.source))
    called = {permission for call, permission in GUARDED.items() if re.search(call, text)}
    found = [f"{one} is called for and not declared in the manifest" for one in sorted(called - declared)]
    return found + [f"{one} is declared in the manifest and nothing calls for it" for one in sorted(declared - called)]


def components(project: Project) -> list[str]:
    """Every component of the manifest is a class, says whether others may start it, and every activity is there."""
    manifest = ET.parse(project.source / "main/AndroidManifest.xml").getroot()
    named = {}
    for kind in COMPONENTS:
        named |= {one.get(f"{ANDROID}name", "").lstrip("."): one for one in manifest.iter(kind)}
    found = []
    sources = {path.stem: text for path, text in project.java(project.source / "main")}
    for name, element in named.items():
        if name not in sources:
            found.append(f"the manifest names {name}, which is no class")
        if element.get(f"{ANDROID}exported") is None:
            found.append(f"the manifest does not say whether {name} is exported")
    activities = {name for name, text in sources.items() if re.search(r"class \w+ extends Activity\b", text)}
    return found + [f"activity {name} is not in the manifest" for name in sorted(activities - named.keys())]


def views(project: Project) -> list[str]:
    """Every view of the app's own in a layout is a class that a layout can make."""
    sources = {path.stem: text for path, text in project.java(project.source / "main")}
    found = []
    for path in sorted((project.source / "main/res").glob("layout*/*.xml")):
        for tag in re.findall(r"<([a-z][\w.]*\.(?:[A-Z]\w*))\b", path.read_text()):
            package, _, name = tag.rpartition(".")
            text = sources.get(name, "")
            if f"package {package};" not in text:
                found.append(f"{path.parent.name}/{path.name} names the view {tag}, which is no class")
            elif not re.search(rf"public {name}\(Context \w+, AttributeSet \w+\)", text):
                found.append(f"{tag} has no public constructor that a layout can call")
    return found


def resources(project: Project) -> list[str]:
    """Every resource that code or XML names exists; layouts say nothing in words of their own."""
    folder, found = project.source / "main/res", []
    existing, used = _existing(folder), set()
    texts = {path.name: text for path, text in project.java(project.source)}
    texts |= {f"{p.parent.name}/{p.name}": p.read_text() for p in sorted(folder.rglob("*.xml"))}
    texts["AndroidManifest.xml"] = (project.source / "main/AndroidManifest.xml").read_text()
    for name, text in texts.items():
        pairs = re.findall(rf"(?<!android\.)\bR\.({'|'.join(KINDS)})\.(\w+)", text)
        pairs += [pair for pair in re.findall(rf"[\"'>]@({'|'.join(KINDS)})/([\w.]+)", text)]
        used |= set(pairs)
        found += [
            f"{name} uses {kind}/{one}, which does not exist" for kind, one in pairs if (kind, one) not in existing
        ]
        if name.startswith("layout") and (
            words := re.findall(r'android:(?:text|contentDescription|hint)="([^@"][^"]*)"', text)
        ):
            found += [f"{name} says '{one}' in words of its own" for one in words]
    idle = {pair for pair in existing - used if pair[0] in ("string", "color", "drawable", "layout", "plurals")}
    return list(dict.fromkeys(found)) + [f"{kind}/{one} is used nowhere" for kind, one in sorted(idle)]


def translations(project: Project) -> list[str]:
    """Every language has every text, with the same places for values."""
    folder, found = project.source / "main/res", []
    own = _texts(folder / "values/strings.xml")
    for path in sorted(folder.glob("values-*/strings.xml")):
        other = _texts(path)
        language = path.parent.name
        found += [f"{language} lacks string {name}" for name in sorted(own.keys() - other.keys())]
        found += [f"{language} has string {name}, which values has not" for name in sorted(other.keys() - own.keys())]
        for name in sorted(own.keys() & other.keys()):
            if _places(own[name]) != _places(other[name]):
                found.append(f"{language}: string {name} has other places for values than in values")
    return found


def _texts(path: Path) -> dict[str, str]:
    items = ET.parse(path).getroot().iter("string")
    return {one.get("name", ""): one.text or "" for one in items if one.get("translatable") != "false"}


def _places(text: str) -> list[str]:
    return sorted(re.findall(r"%\d\$[.\d]*[a-z]", text))


def _existing(folder: Path) -> set[tuple[str, str]]:
    found = set()
    for path in folder.rglob("*.xml"):
        kind = path.parent.name.split("-")[0]
        if kind == "values":
            found |= {(one.tag, one.get("name", "")) for one in ET.parse(path).getroot()}
        else:
            found.add((kind, path.stem))
            found |= {("id", name) for name in re.findall(r'"@\+id/(\w+)"', path.read_text())}
    found |= {(path.parent.name.split("-")[0], path.stem) for path in folder.rglob("*.png")}
    return found | {(path.parent.name.split("-")[0], path.stem) for path in folder.rglob("*.webp")}


def _number(text: str, name: str) -> int:
    found = re.search(rf"^\s*{name} = (\d+)$", text, re.M)
    return int(found.group(1)) if found else 0


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def main(argv: list[str] | None = None) -> int:
    """Print what is wrong; return 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m android_demo.apk.gradle_project", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=DEMO)
    project = read(parser.parse_args(argv).folder)
    found = check(project)
    print("\n".join(found) or f"{project.folder}: {len(project.scripts)} scripts, nothing wrong")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
