"""What learns: a float model, or the deploy form of one with fake quantization."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_vit.layers.drop_path import DropPath
from edge_vit.models import create_model, load_weights
from edge_vit.models.checkpoint_io import read_checkpoint, write_checkpoint
from edge_vit.models.sources import find_weights
from edge_vit.models.weights import compact
from edge_vit.quantization.checkpoint import quantized_weight_names, save_quantized
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.pipeline import build_float, pixel_batches
from edge_vit.quantization.plan import make_plan
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.qat import QatModel
from edge_vit.training.config import TrainConfig
from edge_vit.training.data import TrainingData


@dataclass(kw_only=True)
class Student:
    """What learns, how it is saved, and what it does at the start of an epoch."""

    model: nn.Module
    checkpoint: Path
    save: Callable[[nn.Module, float], None]
    on_epoch: Callable[[int], None] | None = None


def _metadata(config: TrainConfig, data: TrainingData, top1: float) -> dict[str, Any]:
    return {
        "model": config.model, "resolution": config.resolution, "classes": data.classes, "top1": round(top1, 3),
        "num_val_images": len(data.val_labels),
    }  # fmt: skip


def float_student(config: TrainConfig, data: TrainingData) -> Student:
    model = create_model(config.model, num_classes=len(data.classes), resolution=config.resolution)
    if config.weights is not None:
        # Tensors alone: a variant may start from a sibling with the same shapes, an edge variant from its original.
        tensors, metadata = read_checkpoint(config.weights)
        report = load_weights(model, tensors)
        origin = metadata.get("model", config.model)
        tables = f"{len(report.resized)} tables resampled"
        print(f"weights: {config.weights}, of {origin}, {report.naming} names, {tables}", file=sys.stderr)
    for module in model.modules():
        if isinstance(module, DropPath) and config.drop_path is not None:
            module.drop_prob = config.drop_path
    checkpoint = config.output_dir / f"{config.model}_float.safetensors"

    def save(module: nn.Module, top1: float) -> None:
        tensors = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
        write_checkpoint(checkpoint, compact(tensors), _metadata(config, data, top1) | {"form": "training"})

    return Student(model=model, checkpoint=checkpoint, save=save)


def qat_student(config: TrainConfig, data: TrainingData) -> Student:
    """Calibrate the float checkpoint, and make its deploy form learn with fake quantization from there."""
    source = find_weights(config.model, str(config.weights), prefer_quantized=False)
    float_model = build_float(config.model, source, config.resolution)
    if len(float_model.classes) != len(data.classes):
        raise ValueError(
            f"{source.label} has {len(float_model.classes)} classes, {config.data} has {len(data.classes)}; "
            "train the float model on this data first"
        )
    graph = export_graph(float_model.module, torch.zeros(1, config.resolution, config.resolution, 3))
    print("calibrating", file=sys.stderr)
    ranges = calibrate(graph, make_plan(graph), pixel_batches(data.calibration_pixels()))
    example = torch.zeros(2, config.resolution, config.resolution, 3)
    graph = export_graph(float_model.module, example, dynamic_batch=True)
    plan = make_plan(graph)
    quantized = quantized_weight_names(plan)  # before fake quantization comes between operators and weights
    preprocess = float_model.preprocess
    model = QatModel(graph, plan, ranges, preprocess.mean, preprocess.std)
    checkpoint = config.output_dir / f"{config.model}_int8.safetensors"
    float_copy = config.output_dir / f"{config.model}_float.safetensors"

    def save(module: nn.Module, top1: float) -> None:
        if source.path is not None and source.path.resolve() != float_copy.resolve():
            shutil.copyfile(source.path, float_copy)
        metadata = _metadata(config, data, top1) | {"precision": "int8_qat", "float_file": float_copy.name}
        save_quantized(checkpoint, module.weights(), module.ranges(), quantized, metadata)

    def on_epoch(epoch: int) -> None:
        if epoch >= config.epochs - config.freeze_epochs:
            model.freeze_ranges()

    return Student(model=model, checkpoint=checkpoint, save=save, on_epoch=on_epoch)
