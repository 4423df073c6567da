"""A classifier small enough to write by hand: its logits are a linear function of the mean colour."""

from pathlib import Path

import numpy as np
from small_tflite import T, build

from converters import manifest as m

SIDE = 8


def write(path: Path, weights, bias, ids, precision: str = "fp32", kind: str = "logits") -> Path:
    """Write a .tflite for pixels and its manifest; weights (C, 3), bias (C,)."""
    path.write_bytes(flatbuffer(np.asarray(weights, np.float32), np.asarray(bias, np.float32), kind))
    m.save(_manifest(path, ids, precision, kind), path)
    return path


def flatbuffer(weights: np.ndarray, bias: np.ndarray, kind: str = "logits") -> bytes:
    """CAST uint8 -> float32, MEAN over the grid, FULLY_CONNECTED, and SOFTMAX for probabilities."""
    from ai_edge_litert import schema_py_generated as schema

    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    tensors = {
        "image": T((1, SIDE, SIDE, 3), "uint8"), "floats": (1, SIDE, SIDE, 3), "axes": np.array([1, 2], np.int32),
        "color": (1, 3), "weights": weights, "bias": bias, "logits": (1, len(bias)),
    }  # fmt: skip
    operators = [
        ("CAST", ["image"], ["floats"], cast),
        ("MEAN", ["floats", "axes"], ["color"], schema.ReducerOptionsT()),
        ("FULLY_CONNECTED", ["color", "weights", "bias"], ["logits"], schema.FullyConnectedOptionsT()),
    ]
    if kind == "probabilities":
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        tensors["probabilities"] = (1, len(bias))
        operators.append(("SOFTMAX", ["logits"], ["probabilities"], softmax))
    return build(tensors, operators)


def _manifest(path: Path, ids, precision: str, kind: str) -> m.Manifest:
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
        output=m.OutputInfo(name=kind, shape=(1, len(ids)), dtype="float32", kind=kind),
        file=m.describe_file(path),
        operators=m.OperatorsInfo(counts={}, quantize=0, dequantize=0, float_islands=()),
        delegated_nodes=None,
        total_nodes=3,
        verification=None,
        verification_reason="written by hand",
        command="none",
    )  # fmt: skip
