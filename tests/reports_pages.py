"""A report of two small files with every part: pictures whose flips are known, records, ranges."""

import dataclasses
import json
from pathlib import Path

import device_records
import mean_color
from PIL import Image

from converters import manifest as manifests

IDS = ("blue", "red")
WEIGHTS = [[0.0, 0.0, 0.1], [0.1, 0.0, 0.0]]
RANGES = {"input": [1.0, -128], "model.stem.0.conv2d.0": [0.05, 3], "model.head.linear.0": [0.01, 0]}


def write(folder: Path) -> dict[str, Path]:
    """Write float.tflite and shifted.tflite, pictures (4 lost, 2 won of 26) and records; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    float_ = mean_color.write(folder / "float.tflite", WEIGHTS, [0.0, 0.0], IDS)
    shifted = mean_color.write(folder / "shifted.tflite", WEIGHTS, [1.0, 0.0], IDS, "int8_ptq")
    manifest = manifests.load_for(shifted)
    operators = dataclasses.replace(
        manifest.operators, counts={"FULLY_CONNECTED": {"int8": 1}, "MEAN": {"float32": 1}}, quantize=1, dequantize=2,
        float_islands=("MEAN in model",),
    )  # fmt: skip
    manifests.save(
        dataclasses.replace(manifest, quantization={"ranges": RANGES, "weights": "int8"}, operators=operators), shifted
    )
    for name, red, blue, count in (
        ("red", 200, 10, 12),
        ("red", 105, 100, 4),
        ("blue", 10, 200, 8),
        ("blue", 104, 100, 2),
    ):
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
        start = len(list((folder / "data" / name).iterdir()))
        for i in range(count):
            picture = Image.new("RGB", (mean_color.SIDE, mean_color.SIDE), (red, 0, blue))
            picture.save(folder / "data" / name / f"{start + i}.png")
    bench = folder / "bench.json"
    bench.write_text(json.dumps([*latencies(shifted), *counts(shifted)]))
    sensitivity = folder / "sensitivity.json"
    sensitivity.write_text(json.dumps(layers(manifest)))
    return {"float": float_, "shifted": shifted, "data": folder / "data", "bench": bench, "sensitivity": sensitivity}


def layers(manifest: manifests.Manifest) -> dict:
    """Return what `sensitivity --json` would say of two layers, one of which is exact."""
    measured = {"num_images": 4, "float_loss": 0.5, "int8_loss": 0.6, "float_top1": 75.0, "int8_top1": 75.0}
    layer = {
        "operators": ["model.stem.0.conv2d.0"], "own_db": 20.0, "loss_alone": 0.1, "loss_without": -0.1, "low": -6.5,
        "high": 6.2, "seen_low": -7.0, "seen_high": 6.0, "clipped": 0.01, "outliers": 1, "channels": 8,
    }  # fmt: skip
    found = [
        layer | {"name": "model.stem.0.conv2d.0", "logits_db": 12.5},
        layer | {"name": "model.head.linear.0", "logits_db": None, "outliers": None, "channels": None},
    ]
    return {
        "model": manifest.model, "precision": "int8_ptq", "weights": manifest.weights.source,
        "data": "4 pictures of val/", "loss": "labels",
        "measured": measured | {"agreement": 1.0, "logits_db": 12.0, "layers": found},
    }  # fmt: skip


def latencies(model: Path) -> list[dict]:
    digest = manifests.describe_file(model).sha256
    record = device_records.make(model.name, model_sha256=digest, sustained=[[0.0, 5000.0], [60.0, 5500.0]])
    plain = record.as_dict()
    return [plain | {"output_sha256": None}]


def counts(model: Path) -> list[dict]:
    digest = manifests.describe_file(model).sha256
    operators = [
        {"kind": "CAST", "kernel": "builtin", "instructions": 1000},
        {"kind": "MEAN", "kernel": "Mean (ND) F32", "instructions": 3000},
        {"kind": "FULLY_CONNECTED", "kernel": "Fully Connected (NC, F32) GEMM", "instructions": 5500},
    ]
    common = {"model": model.name, "model_sha256": digest, "emulated": True, "runtime": "LiteRT 2.3.0"}
    return [
        common | {"cpu": cpu, "instructions": total, "operators": operators, "between_operators": total - 9500}
        for cpu, total in (("cortex-a53", 12000), ("cortex-a76", 10000))
    ]
