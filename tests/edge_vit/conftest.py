"""Artefacts small enough to write by hand: a classifier whose logits are a linear function of the mean colour."""

from pathlib import Path

import numpy as np
import pytest

from converters import manifest as m

SIDE = 8


@pytest.fixture
def write_artefact(tmp_path):
    """Return write(name, weights (C, 3), bias (C,), ids, precision): a .tflite for pixels, with its manifest."""

    def write(name, weights, bias, ids, precision="fp32") -> Path:
        path = tmp_path / name
        path.write_bytes(_flatbuffer(np.asarray(weights, np.float32), np.asarray(bias, np.float32)))
        m.save(_manifest(path, ids, precision), path)
        return path

    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    return write


def _flatbuffer(weights: np.ndarray, bias: np.ndarray) -> bytes:
    """CAST uint8 -> float32, MEAN over the grid, FULLY_CONNECTED."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    model, graph = s.ModelT(), s.SubGraphT()
    model.version, model.buffers = 3, [s.BufferT()]

    def tensor(name, kind, shape, data=None):
        new = s.TensorT()
        new.name, new.type, new.shape, new.buffer = name, kind, shape, 0
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            new.buffer = len(model.buffers) - 1
        graph.tensors.append(new)
        return len(graph.tensors) - 1

    def operator(code, options_type, options, inputs, outputs):
        kind, new = s.OperatorCodeT(), s.OperatorT()
        kind.builtinCode = kind.deprecatedBuiltinCode = code
        kind.version = 1
        model.operatorCodes.append(kind)
        new.opcodeIndex = len(model.operatorCodes) - 1
        new.builtinOptionsType, new.builtinOptions, new.inputs, new.outputs = options_type, options, inputs, outputs
        graph.operators.append(new)

    model.operatorCodes, model.subgraphs, graph.tensors, graph.operators = [], [graph], [], []
    classes = len(bias)
    image = tensor("image", s.TensorType.UINT8, [1, SIDE, SIDE, 3])
    floats = tensor("floats", s.TensorType.FLOAT32, [1, SIDE, SIDE, 3])
    axes = tensor("axes", s.TensorType.INT32, [2], np.array([1, 2], np.int32))
    color = tensor("color", s.TensorType.FLOAT32, [1, 3])
    matrix = tensor("weights", s.TensorType.FLOAT32, [classes, 3], weights)
    offset = tensor("bias", s.TensorType.FLOAT32, [classes], bias)
    logits = tensor("logits", s.TensorType.FLOAT32, [1, classes])
    cast = s.CastOptionsT()
    cast.inDataType, cast.outDataType = s.TensorType.UINT8, s.TensorType.FLOAT32
    operator(s.BuiltinOperator.CAST, s.BuiltinOptions.CastOptions, cast, [image], [floats])
    operator(s.BuiltinOperator.MEAN, s.BuiltinOptions.ReducerOptions, s.ReducerOptionsT(), [floats, axes], [color])
    dense, inputs = s.FullyConnectedOptionsT(), [color, matrix, offset]
    operator(s.BuiltinOperator.FULLY_CONNECTED, s.BuiltinOptions.FullyConnectedOptions, dense, inputs, [logits])
    graph.inputs, graph.outputs = [image], [logits]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _manifest(path: Path, ids, precision: str) -> m.Manifest:
    return m.Manifest(
        model="mean_color",
        precision=precision,
        target="tflite",
        backend="xnnpack",
        weights=m.WeightsInfo(source="written by hand", sha256=None),
        classes=tuple(m.ClassLabel(id=label, name=f"the {label} one") for label in ids),
        input=m.InputInfo(
            name="image", layout="NHWC", shape=(1, SIDE, SIDE, 3), dtype="uint8", value_range=(0.0, 255.0), color="RGB",
            resize=SIDE, interpolation="bilinear", crop_pct=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
            normalization="inside",
        ),
        output=m.OutputInfo(name="logits", shape=(1, len(ids)), dtype="float32", kind="logits"),
        file=m.describe_file(path),
        operators=m.OperatorsInfo(counts={}, quantize=0, dequantize=0, float_islands=()),
        delegated_nodes=None,
        total_nodes=3,
        verification=None,
        verification_reason="written by hand",
        command="none",
    )  # fmt: skip
