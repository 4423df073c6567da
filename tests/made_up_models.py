"""Artefacts of made-up models: bytes that no runtime could load, with manifests that describe them."""

import dataclasses
import functools

import pytest

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from converters import manifest as manifests


def input_info(**changes):
    fields = dict(
        name="image", layout="NHWC", shape=(1, 32, 32, 3), dtype="uint8", value_range=(0.0, 255.0), color="RGB",
        resize=32, interpolation="bicubic", crop_pct=1.0, mean=IMAGENET_MEAN, std=IMAGENET_STD, normalization="inside",
    )  # fmt: skip
    return manifests.InputInfo(**(fields | changes))


def write_model(folder, name="demo_int8.pte", *, classes=("tench", "church", "parachute", "truck"), content=b"",
                changes=None, **input_changes):  # fmt: skip
    """Write a made-up model, unless it is there, and its manifest; no runtime can load it without `content`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content or not path.exists():
        path.write_bytes(content or name.encode() * 1000)
    manifest = manifests.Manifest(
        model="demo",
        precision="int8_ptq",
        target="executorch",
        backend="xnnpack",
        weights=manifests.WeightsInfo(source="random", sha256=None),
        classes=tuple(manifests.ClassLabel(id=f"n{i:08}", name=label) for i, label in enumerate(classes)),
        input=input_info(**input_changes),
        output=manifests.OutputInfo(name="logits", shape=(1, len(classes)), dtype="float32", kind="logits"),
        file=manifests.describe_file(path),
        operators=manifests.OperatorsInfo(counts={}, quantize=0, dequantize=0, float_islands=()),
        delegated_nodes=1,
        total_nodes=1,
        verification=None,
        verification_reason="a made-up model",
        command="tests",
    )
    manifests.save(dataclasses.replace(manifest, **(changes or {})), path)
    return path


@pytest.fixture
def make_model(tmp_path):
    """Return `write_model` for a folder of its own."""
    return functools.partial(write_model, tmp_path / "models")
