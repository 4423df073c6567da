"""The signature stubs of LiteRT say what its own Kotlin sources say, and the app calls nothing else."""

import json
import re
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "android_demo"
STUBS = DEMO / "offline/litert_stubs/com/google/ai/edge/litert"
API = json.loads((Path(__file__).parent / "data/litert_api.json").read_text())
# How Java sees Kotlin's types.
JAVA = {
    "Int": "int", "Int?": "Integer", "FloatArray": "float[]", "ByteArray": "byte[]",
    "vararg Accelerator": "Accelerator...",
}  # fmt: skip


def as_java(kind):
    bare = kind.removesuffix(" =")
    return JAVA.get(bare, bare.removesuffix("?"))


def published(name):
    """Every call that Java can make: parameters with a default may be left out from the end on."""
    found = set()
    for function, kinds in API["classes"].get(name, []):
        while True:
            found.add((function, tuple(map(as_java, kinds))))
            if not kinds or not kinds[-1].endswith(" ="):
                break
            kinds = kinds[:-1]
    return found


def stubbed():
    for path in sorted(STUBS.glob("*.java")):
        name = path.stem
        for line in path.read_text().splitlines():
            if nested := re.match(r"    public static final class (\w+)", line):
                name = nested[1]
            found = re.match(r"\s+public (?:static |final |abstract )*(?:[\w.<>\[\]]+ )?(\w+)\(([^)]*)\)", line)
            if found:
                kinds = tuple(one.rsplit(" ", 1)[0] for one in found[2].split(", ") if one)
                yield name, "<init>" if found[1] == name else found[1], kinds


@pytest.mark.parametrize("name, function, kinds", [*stubbed()], ids=lambda value: str(value))
def test_a_stub_is_published(name, function, kinds):
    assert (function, kinds) in published(name)


def test_there_are_stubs_and_a_wrong_one_would_be_found():
    assert len([*stubbed()]) >= 15
    assert ("run", ("List<TensorBuffer>", "TensorBuffer")) not in published("CompiledModel")
    assert ("create", ("String", "Options", "Environment")) in published("CompiledModel")
