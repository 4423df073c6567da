from pathlib import Path

import pytest

from edge_vit.devices.tflite_file import OPERATORS, Interface, Tensor, read_interface, read_operators


def test_reads_inputs_and_outputs(tiny_int8: Path, tiny_fp32: Path) -> None:
    for path, dtype in ((tiny_int8, "int8"), (tiny_fp32, "float32")):
        found = read_interface(path)
        assert isinstance(found, Interface)
        assert [(t.dtype, t.shape) for t in found.inputs] == [(dtype, (1, 3, 32, 32))]
        assert [(t.dtype, t.shape) for t in found.outputs] == [(dtype, (1, 10))]
        assert isinstance(found.inputs[0], Tensor) and found.inputs[0].name


def test_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"not a flatbuffer")
    with pytest.raises(ValueError, match=r"x\.tflite is not a \.tflite model"):
        read_interface(tmp_path / "x.tflite")


def test_refuses_a_cut_file(tmp_path: Path, tiny_int8: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(tiny_int8.read_bytes()[:64])
    with pytest.raises(ValueError, match="cut short or damaged"):
        read_interface(tmp_path / "x.tflite")


def test_reads_operators_in_order(tiny_int8: Path, tiny_fp32: Path) -> None:
    for path in (tiny_int8, tiny_fp32):
        names = read_operators(path)
        assert names.count("CONV_2D") == 2 and names[-1] == "FULLY_CONNECTED"
        assert names.index("HARD_SWISH") < names.index("DEPTHWISE_CONV_2D") < names.index("SOFTMAX")


@pytest.mark.needs_tflite
def test_operator_codes_are_the_schemas() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    published = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    assert {code: published[code] for code in OPERATORS} == OPERATORS
