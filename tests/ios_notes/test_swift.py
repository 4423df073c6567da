"""The Swift example parses, and uses only fields that a manifest has."""

import dataclasses
import re
from pathlib import Path

import pytest

from converters import manifest as manifests

NOTES = Path(__file__).parents[2] / "ios_notes"
SOURCES = sorted(NOTES.rglob("*.swift"))
MANIFEST = NOTES / "Sources/EdgeViTCore/ModelManifest.swift"


def syntax_errors(source: bytes) -> list[str]:
    tree_sitter = pytest.importorskip("tree_sitter", reason="needs the PyPI package tree-sitter")
    swift = pytest.importorskip("tree_sitter_swift", reason="needs the PyPI package tree-sitter-swift")
    tree = tree_sitter.Parser(tree_sitter.Language(swift.language())).parse(source)
    found, waiting = [], [tree.root_node]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {node.text.decode()[:60]!r}")
        waiting.extend(node.children)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_parses(path):
    assert syntax_errors(path.read_bytes()) == []


def test_the_parser_finds_errors():
    assert syntax_errors(b"func f( { let x = }")


def test_the_manifest_has_what_swift_decodes():
    text = MANIFEST.read_text()
    known = {
        "Label": manifests.ClassLabel,
        "Input": manifests.InputInfo,
        "File": manifests.FileInfo,
        "ModelManifest": manifests.Manifest,
    }
    for name, kind in known.items():
        body = text[text.index(f"struct {name}: Decodable") :]
        inner = body[: body.index("public static func")] if name == "ModelManifest" else body[: body.index("\n    }")]
        indent = "    " if name == "ModelManifest" else "        "
        fields = re.findall(rf"^{indent}public let (\w+):", inner, re.M)
        snake = {re.sub(r"([A-Z])", lambda m: "_" + m[1].lower(), field) for field in fields}
        assert snake and snake <= {field.name for field in dataclasses.fields(kind)}, name


def test_schema_version_is_ours():
    text = MANIFEST.read_text()
    assert f"manifest.schemaVersion == {manifests.SCHEMA_VERSION} " in text


def test_the_core_needs_no_apple_framework():
    for path in sorted((NOTES / "Sources").rglob("*.swift")):
        assert set(re.findall(r"^import (\w+)", path.read_text(), re.M)) <= {"Foundation"}, path.name


def test_the_actor_does_not_suspend_in_a_timed_run():
    """At an await another call could enter; the synchronous prediction is called, after the only await."""
    text = (NOTES / "App/Sources/ModelRunner.swift").read_text()
    assert "actor ModelRunner" in text and "await model.prediction" not in text
    measure = text[text.index("func measure(") : text.index("    /// Run once")]
    assert measure.count("await") == 2  # one of them in a comment
    assert measure.index("await whatRuns()") < measure.index("let before = state()")
    assert "async" not in text[text.index("func classify(") : text.index("    /// Measure")]


def test_the_record_has_the_fields_of_bench_arm():
    from edge_vit.devices import records, results

    text = (NOTES / "Sources/EdgeViTCore/BenchmarkRecord.swift").read_text()
    body = text[text.index("    public var model: String\n") : text.index("    public init(\n        manifest")]
    made = set(re.findall(r"^    public var (\w+)", body, re.M))
    known = {field.name for field in dataclasses.fields(records.Record)} | {"figures"}
    required = {f.name for f in dataclasses.fields(records.Record) if f.default is f.default_factory}
    assert required | results.NEEDED <= made <= known
    inner = text[text.index("struct Round") : text.index("struct Failure")]
    assert {"num_samples", "samples_us", "warmup_us", "first_us", "load_us", "is_steady"} <= set(
        re.findall(r"var (\w+)", inner)
    )


def test_the_project_names_what_is_there():
    text = (NOTES / "App/EdgeViTDemo.xcodeproj/project.pbxproj").read_text()
    assert text.count("{") == text.count("}") and text.count("(") == text.count(")")
    defined = set(re.findall(r"^\t\t(E[0-9A-F]{23})\b.* = \{", text, re.M))
    assert set(re.findall(r"\bE[0-9A-F]{23}\b", text)) == defined and len(defined) == 19
    folders = re.findall(r"isa = PBXFileSystemSynchronizedRootGroup;\s+path = (\w+);", text)
    assert all((NOTES / "App" / name).is_dir() for name in folders) and sorted(folders) == ["Models", "Sources"]
    (package,) = re.findall(r"relativePath = (\S+);", text)
    assert (NOTES / "App" / package / "Package.swift").is_file()
