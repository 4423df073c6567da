"""The one reader of .tflite files, which needs no package."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_tflite import T, build

from converters.tflite.reader import DTYPES, OPERATORS, Operator, read_model

DATA = Path(__file__).parents[2] / "devices" / "data"


@pytest.mark.parametrize(("name", "dtype"), [("tiny_int8", "int8"), ("tiny_fp32", "float32")])
def test_reads_inputs_outputs_and_operators_in_order(name: str, dtype: str) -> None:
    model = read_model(DATA / f"{name}.tflite")
    assert [(t.dtype, t.shape) for t in model.input_tensors] == [(dtype, (1, 3, 32, 32))] and model.input_tensors[
        0
    ].name
    assert [(t.dtype, t.shape) for t in model.output_tensors] == [(dtype, (1, 10))]
    kinds = [op.kind for op in model.operators]
    assert kinds.count("CONV_2D") == 2 and kinds[-1] == "FULLY_CONNECTED"
    assert kinds.index("HARD_SWISH") < kinds.index("DEPTHWISE_CONV_2D") < kinds.index("SOFTMAX")


def test_needs_no_package() -> None:
    """bench_arm reads models where neither LiteRT nor numpy is installed."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('ai_edge_litert', 'flatbuffers', 'numpy', 'torch')); "
        "from converters.tflite.reader import read_model; from pathlib import Path; "
        f"print(len(read_model(Path({str(DATA / 'tiny_int8.tflite')!r})).operators))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10


@pytest.mark.needs_tflite
def test_grids_data_and_missing_inputs(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    import numpy as np

    tensors = {"x": T((1, 4), "int8", (0.5, 3)), "w": T(np.arange(8, dtype=np.int8).reshape(2, 4), grid=(0.25, 0)),
               "y": T((1, 2), "int8", (1.0, -1))}  # fmt: skip
    path = tmp_path / "layer.tflite"
    path.write_bytes(build(tensors, [("FULLY_CONNECTED", ["x", "w", ""], ["y"], None)]))
    model = read_model(path)
    x, w, y = model.tensors
    assert (x.scales, x.zero_points, y.scales, y.zero_points) == ((0.5,), (3,), (1.0,), (-1,))
    assert w.is_constant and bytes(w.data) == bytes(range(8)) and not x.is_constant
    assert model.operators == (Operator(kind="FULLY_CONNECTED", inputs=(0, 1, -1), outputs=(2,)),)
    assert (model.inputs, model.outputs) == ((0,), (2,))


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    with pytest.raises(ValueError, match=r"x\.tflite: no such file"):
        read_model(path)
    path.write_bytes(b"not a flatbuffer")
    with pytest.raises(ValueError, match=r"x\.tflite is not a \.tflite model \(no TFL3 mark in its header\)"):
        read_model(path)
    path.write_bytes((DATA / "tiny_int8.tflite").read_bytes()[:64])
    with pytest.raises(ValueError, match=r"x\.tflite is cut short or damaged$"):
        read_model(path)


@pytest.mark.parametrize("tensor", [7, -2])
@pytest.mark.needs_tflite
def test_operators_of_tensors_that_are_not_there_are_damage(tmp_path: Path, tensor: int) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    from converters.tflite.edits.flatbuffer import EditedModel

    model = EditedModel(build({"x": (1, 2), "y": (1, 2)}, [("RELU", ["x"], ["y"], None)]))
    model.graph.operators[0].inputs = [tensor]
    path = tmp_path / "x.tflite"
    path.write_bytes(model.pack())
    with pytest.raises(ValueError, match=r"x\.tflite is cut short or damaged$"):
        read_model(path)


@pytest.mark.needs_tflite
def test_an_operator_of_a_newer_schema_is_numbered(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    from converters.tflite.edits.flatbuffer import EditedModel

    model = EditedModel(build({"x": (1, 2), "y": (1, 2)}, [("RELU", ["x"], ["y"], None)]))
    model.model.operatorCodes[0].builtinCode = 1234
    path = tmp_path / "x.tflite"
    path.write_bytes(model.pack())
    assert [op.kind for op in read_model(path).operators] == ["operator 1234"]


@pytest.mark.needs_tflite
def test_names_are_the_schemas() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs edge_vit[tflite]")
    for names, published in ((OPERATORS, schema.BuiltinOperator), (tuple(map(str.upper, DTYPES)), schema.TensorType)):
        codes = {code: name for name, code in vars(published).items() if isinstance(code, int)}
        known = {code: name for code, name in codes.items() if code < len(names)}  # a newer schema has more
        assert len(known) > 20 and all(names[code] == name for code, name in known.items())
