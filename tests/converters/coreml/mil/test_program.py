"""Programs are read as coremltools reads them; damaged files are refused in one line that names them."""

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from converters.coreml.mil.interpreter import load
from converters.coreml.mil.messages import model_messages
from converters.coreml.mil.program import read_program

pytestmark = pytest.mark.needs_coreml
ROOT = Path(__file__).parents[4]
MODEL, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"
PICTURE = {"x": np.zeros((1, 3, 64, 64), np.float32)}
Change = Callable[[Any], object]


@pytest.fixture
def package(transformer: tuple[nn.Module, Path], tmp_path: Path) -> Path:
    """Return a copy of the package, to be damaged."""
    return Path(shutil.copytree(transformer[1], tmp_path / "copy.mlpackage"))


def edit(package: Path, change: Change) -> None:
    """Change the model's message and write it back."""
    model = model_messages().Model()
    model.ParseFromString((package / MODEL).read_bytes())
    change(model)
    (package / MODEL).write_bytes(model.SerializeToString())


def block_of(model: Any) -> Any:
    function = model.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def first(model: Any, kind: str) -> Any:
    return next(operation for operation in block_of(model).operations if operation.type == kind)


def blob_values(model: Any) -> list[Any]:
    values = (o.attributes["val"] for o in block_of(model).operations if o.type == "const")
    return [value for value in values if value.WhichOneof("value") == "blobFileValue"]


def first_blob(model: Any) -> Any:
    return blob_values(model)[0].blobFileValue


def point_at_another_size_(model: Any) -> None:
    """Let the first constant read the weight of one that has another number of values."""
    sizes = [
        math.prod(dimension.constant.size for dimension in value.type.tensorType.dimensions)
        for value in blob_values(model)
    ]
    other = next(i for i, size in enumerate(sizes) if size != sizes[0])
    first_blob(model).offset = blob_values(model)[other].blobFileValue.offset


def test_reads_the_same_program_as_coremltools(transformer: tuple[nn.Module, Path]) -> None:
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load as load_theirs

    package = transformer[1]
    spec = ct.utils.load_spec(str(package))
    theirs = load_theirs(spec, spec.specificationVersion, str(package / "Data/com.apple.CoreML/weights"))
    ours = read_program(package)
    operations = theirs.functions["main"].operations
    assert [o.kind for o in ours.operations] == [o.op_type for o in operations]
    constants = {o.name: o.value for o in ours.operations if o.kind == "const"}
    compared = 0
    for operation in operations:
        if operation.op_type == "const" and isinstance(operation.val.val, np.ndarray):
            found, expected = constants[operation.outputs[0].name].numpy(), operation.val.val
            assert found.dtype == expected.dtype and np.array_equal(found, expected)
            compared += 1
    assert compared > 20


def test_an_mlmodel_file_is_the_same_program(transformer: tuple[nn.Module, Path], tmp_path: Path) -> None:
    inside = transformer[1] / "Data/com.apple.CoreML"
    shutil.copy(inside / "model.mlmodel", tmp_path / "t.mlmodel")
    shutil.copytree(inside / "weights", tmp_path / "weights")
    (one,), (other,) = (load(path).predict(PICTURE).values() for path in (transformer[1], tmp_path / "t.mlmodel"))
    assert np.array_equal(one, other)


def test_reading_loads_generated_classes_alone(transformer: tuple[nn.Module, Path]) -> None:
    import coremltools.proto.Model_pb2

    assert model_messages().Model is coremltools.proto.Model_pb2.Model
    code = f"""import sys
from converters.coreml.mil.program import read_program
assert read_program({str(transformer[1])!r}).outputs
assert "coremltools" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_missing_coremltools_is_one_line(transformer: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("_coremltools_proto")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(ImportError, match=r"^coremltools is not installed .*pip install 'edge_vit\[coreml\]'$"):
        read_program(transformer[1])


def test_missing_and_damaged_packages(package: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.mlpackage: no such file"):
        load(package.with_name("none.mlpackage"))
    for text in ("{}", "[" * 100_000, "no JSON", '{"itemInfoEntries": 1, "rootModelIdentifier": ""}'):
        (package / "Manifest.json").write_text(text)
        with pytest.raises(ValueError, match=r"copy\.mlpackage: not an \.mlpackage"):
            load(package)


def test_cut_off_and_missing_weights(package: Path) -> None:
    weights = package / WEIGHTS
    whole = weights.read_bytes()
    for length in (len(whole) // 2, len(whole) - 1, 100):
        weights.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"copy\.mlpackage: .*(cut off|no weight at offset)"):
            load(package)
    weights.write_bytes(b"")
    with pytest.raises(ValueError, match=r"copy\.mlpackage: "):
        load(package)
    weights.unlink()
    with pytest.raises(ValueError, match=r"copy\.mlpackage: cannot be read"):
        load(package)


def test_cut_off_models(package: Path) -> None:
    whole = (package / MODEL).read_bytes()
    for length in (0, 1, 10, len(whole) // 3, len(whole) - 7, len(whole) - 1):
        (package / MODEL).write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"copy\.mlpackage: "):
            load(package)
    (package / MODEL).unlink()
    with pytest.raises(ValueError, match=r"copy\.mlpackage: cannot be read"):
        load(package)


@pytest.mark.parametrize("data", [b"not a model at all", b"\x08", b"\x12\x05ab", b"\x0b", b"\x08" + b"\xff" * 11])
def test_files_that_are_no_protocol_buffers(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "text.mlmodel").write_bytes(data)
    with pytest.raises(ValueError, match=r"text\.mlmodel: not a Core ML model"):
        load(tmp_path / "text.mlmodel")


def test_an_older_neural_network_is_refused(tmp_path: Path) -> None:
    model = model_messages().Model(specificationVersion=4)
    model.neuralNetwork.SetInParent()
    (tmp_path / "old.mlmodel").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="holds neuralNetwork, no ML program; convert the model with convert_to="):
        load(tmp_path / "old.mlmodel")


def no_tensor(model: Any) -> None:
    first(model, "const").attributes["val"].type.dictionaryType.SetInParent()


def unknown_type(model: Any) -> None:
    first(model, "const").attributes["val"].type.tensorType.dataType = 35


def grayscale(model: Any) -> None:
    image = model.description.input[0].type.imageType
    image.width = image.height = 64
    image.colorSpace = 10


CHANGES: dict[str, Change] = {
    "has no function 'other'; it has main": lambda m: setattr(m.description, "defaultFunctionName", "other"),
    "function 'main' has no block for its opset 'x'": lambda m: setattr(m.mlProgram.functions["main"], "opset", "x"),
    "the weight file ../../../secret lies outside the package":
        lambda m: setattr(first_blob(m), "fileName", "@model_path/../../../secret"),
    "cannot be read": lambda m: setattr(first_blob(m), "fileName", "@model_path/weights/other.bin"),
    "has no weight at offset 65; the file is damaged": lambda m: setattr(first_blob(m), "offset", 65),
    f"has no weight at offset {2**63}; the file is damaged": lambda m: setattr(first_blob(m), "offset", 2**63),
    "has .* values; the file is damaged": point_at_another_size_,
    "a constant has a type that is no tensor or list": no_tensor,
    "a constant has data type 35, which is not known here": unknown_type,
    "operator 'linear' gives nothing; the file is damaged": lambda m: first(m, "linear").ClearField("outputs"),
    "operator linear '.*' needs 'gone', which nothing gives; the file is damaged":
        lambda m: setattr(first(m, "linear").inputs["x"].arguments[0], "name", "gone"),
    "the program's output needs 'gone', which nothing gives": lambda m: block_of(m).outputs.append("gone"),
    "image 'x' is not RGB, the only kind of picture that is read here": grayscale,
}  # fmt: skip


@pytest.mark.parametrize("message", CHANGES)
def test_wrong_programs_are_refused(message: str, package: Path) -> None:
    edit(package, CHANGES[message])
    with pytest.raises(ValueError, match=rf"copy\.mlpackage: .*{message}"):
        load(package)


def test_flipped_bits_never_give_anything_but_a_value_error(package: Path) -> None:
    model = package / MODEL
    whole, generator = model.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(3):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        model.write_bytes(bytes(data))
        try:
            load(package).predict(PICTURE)
        except ValueError as e:
            assert "copy.mlpackage" in str(e) and "\n" not in str(e)
            refused += 1
    assert refused > 50


def test_manifest_names_the_model(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    for entry in manifest["itemInfoEntries"].values():
        entry["path"] = entry["path"].replace("model.mlmodel", "renamed.mlmodel")
    (package / "Manifest.json").write_text(json.dumps(manifest))
    (package / MODEL).rename((package / MODEL).with_name("renamed.mlmodel"))
    assert read_program(package).outputs
