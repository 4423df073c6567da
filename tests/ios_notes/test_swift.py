"""The Swift example parses, and uses only fields that a manifest has."""

import dataclasses
import re
from pathlib import Path

import pytest

from converters import manifest as manifests

NOTES = Path(__file__).parents[2] / "ios_notes"
SOURCES = sorted(NOTES.glob("*.swift"))


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
    text = (NOTES / "Classifier.swift").read_text()
    known = {
        "Label": manifests.ClassLabel,
        "Input": manifests.InputInfo,
        "ModelManifest": manifests.Manifest,
    }
    for name, kind in known.items():
        body = text[text.index(f"struct {name}: Decodable") :]
        inner = body[: body.index("static func")] if name == "ModelManifest" else body[: body.index("\n    }")]
        indent = "    " if name == "ModelManifest" else "        "
        fields = re.findall(rf"^{indent}let (\w+):", inner, re.M)
        snake = {re.sub(r"([A-Z])", lambda m: "_" + m[1].lower(), field) for field in fields}
        assert snake and snake <= {field.name for field in dataclasses.fields(kind)}, name


def test_schema_version_is_ours():
    text = (NOTES / "Classifier.swift").read_text()
    assert f"manifest.schemaVersion == {manifests.SCHEMA_VERSION} " in text
