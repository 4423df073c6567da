"""Artefacts of made-up models: bytes that no runtime could load, with manifests that describe them."""

import dataclasses

import pytest

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from converters import manifest as manifests


def input_info(**changes):
    fields = dict(
        name="image", layout="NHWC", shape=(1, 32, 32, 3), dtype="uint8", value_range=(0.0, 255.0), color="RGB",
        resize=32, interpolation="bicubic", crop_pct=1.0, mean=IMAGENET_MEAN, std=IMAGENET_STD, normalization="inside",
    )  # fmt: skip
    return manifests.InputInfo(**(fields | changes))


@pytest.fixture
def make_model(tmp_path):
    """Return a function that writes a made-up model with its manifest; it is bytes that no runtime could load."""

    def make(name="demo_int8.pte", *, classes=("tench", "church", "parachute", "truck"), changes=None, **input_changes):
        path = tmp_path / "models" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode() * 1000)
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

    return make
