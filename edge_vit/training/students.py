"""What learns: a float model, or the deploy form of one with fake quantization."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calibration.dataset import BatchLoader, ImageSet, choose
from calibration.preprocess import Preprocess
from edge_vit.layers.drop_path import DropPath
from edge_vit.layers.own_pixels import LogitsOnly
from edge_vit.models import create_model
from edge_vit.models.checkpoint_io import write_checkpoint
from edge_vit.models.own import LoadedNetwork, OwnNetwork, pictures_of
from edge_vit.models.sources import WeightsSource
from edge_vit.models.weights import LoadReport, compact, load_backbone
from edge_vit.quantization.best import find_biases
from edge_vit.quantization.checkpoint import quantized_weight_names, save_quantized
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.own_float import build_own
from edge_vit.quantization.pipeline import build_float, pixel_batches
from edge_vit.quantization.plan import make_plan
from edge_vit.quantization.processors import CPU, Processor
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.qat import QatModel
from edge_vit.training.batch_norm import share_batch_norms_
from edge_vit.training.folders import Splits, check_same_classes
from edge_vit.training.processes import Place
from edge_vit.training.state import written

NUM_CALIBRATION_PICTURES = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """What learns and how it is saved.

    Attributes:
        save: (module, its top-1 in percent, whether it has not learnt anything yet) -> a file at `checkpoint`.
        freeze: Fixes its ranges; None where it has none.
        is_head_new: Whether its classifier has learnt nothing while the rest has.
    """

    model: nn.Module
    checkpoint: Path
    save: Callable[[nn.Module, float, bool], None]
    freeze: Callable[[], None] | None = None
    is_head_new: bool = False


def float_student(
    name: str, resolution: int, classes: Sequence[dict[str, str]], source: WeightsSource | None,
    drop_path: float | None, folder: Path, num_val_images: int, place: Place,
) -> Student:  # fmt: skip
    """Create a variant with initial weights, or with those of a checkpoint, and let it learn in its training form.

    Of a checkpoint of other classes all but its classifier is taken, strictly.

    Raises:
        ValueError: If the variant, the resolution or the checkpoint does not fit.
    """
    model = create_model(name, num_classes=len(classes), resolution=resolution)
    started_from, is_head_new = None, False
    if source is not None:
        assert source.checkpoint is not None
        # A variant may start from a sibling with the same shapes, an edge variant from its original.
        report = load_backbone(model, source.checkpoint, classes)
        started_from = {"weights": source.label, "sha256": source.sha256, "left_out": list(report.left_out)}
        is_head_new = bool(report.left_out)
        if place.is_main:
            for line in _start_lines(name, source, report, len(classes)):
                print(line, file=sys.stderr)
    for module in model.modules():
        if isinstance(module, DropPath) and drop_path is not None:
            module.drop_prob = drop_path
    if place.num_processes > 1:
        share_batch_norms_(model)
    checkpoint = folder / f"{name}_float.safetensors"

    def save(module: nn.Module, top1: float, is_start: bool) -> None:
        tensors = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
        metadata = _metadata(name, resolution, classes, top1, num_val_images) | {"form": "training"}
        if started_from is not None:
            metadata |= {"started_from": started_from}
        with written(checkpoint):
            write_checkpoint(checkpoint, compact(tensors), metadata)

    return Student(model=model, checkpoint=checkpoint, save=save, is_head_new=is_head_new)


def _start_lines(name: str, source: WeightsSource, report: LoadReport, num_classes: int) -> list[str]:
    """Return what a start from weights did, line by line."""
    origin = report.metadata.get("model", name)
    resampled = f", {len(report.resized)} position tables resampled" if report.resized else ""
    lines = [*report.notes, f"weights: {source.label}, of {origin}, {report.naming} names{resampled}"]
    if report.left_out:
        keys = f"{', '.join(report.left_out[:3])}{', ...' if len(report.left_out) > 3 else ''}"
        lines.append(f"a new classifier for {num_classes} classes; {len(report.left_out)} keys left out ({keys})")
    return lines


def own_student(
    own: OwnNetwork, network: LoadedNetwork, classes: Sequence[dict[str, str]], source: WeightsSource | None,
    folder: Path, num_val_images: int, place: Place,
) -> Student:  # fmt: skip
    """Let a network of the user's own learn, from what its function gives or what was loaded into it."""
    if place.is_main:
        print(f"weights: {own.source if source is None else source.label}", file=sys.stderr)
    model = LogitsOnly(network.module)
    if place.num_processes > 1:
        share_batch_norms_(model)
    checkpoint = folder / f"{own.name}_float.safetensors"
    resolution = network.preprocess.size[0]

    def save(module: nn.Module, top1: float, is_start: bool) -> None:
        net = module.net
        assert isinstance(net, nn.Module)
        metadata = _metadata(own.name, resolution, classes, top1, num_val_images) | {"form": "training"}
        metadata |= {"network": own.source, **pictures_of(network.preprocess)}
        with written(checkpoint):
            write_checkpoint(checkpoint, net.state_dict(), metadata)

    return Student(model=model, checkpoint=checkpoint, save=save)


def qat_student(
    name: str, resolution: int, splits: Splits, train: ImageSet, source: WeightsSource, folder: Path,
    num_val_images: int, place: Place, processor: Processor = CPU, own: OwnNetwork | None = None,
) -> Student:  # fmt: skip
    """Calibrate a float checkpoint, and make its deploy form learn with fake quantization from there.

    Args:
        train: Readable training pictures; some of them choose where the ranges start.
        processor: Where the file is to run: what it computes in integers is so in training.
        own: The network where it is none of our variants; `name` is then its.

    Raises:
        ValueError: If the checkpoint does not fit the variant, the resolution or the classes.
    """
    # Both files of one model name the same classes: those that the float checkpoint has, where it names any.
    classes = source.metadata.get("classes") or splits.classes
    check_same_classes(splits, classes, source.label)
    if own is None:
        float_model = build_float(name, source, resolution)
    else:
        float_model, _ = build_own(own, source, classes=classes)
    if len(float_model.classes) != len(classes):
        check_same_classes(splits, float_model.classes, source.label)
    example = torch.zeros(2, resolution, resolution, 3)
    graph = export_graph(float_model.module, example, dynamic_batch=True, has_floats=processor.has_floats)
    plan = make_plan(graph, processor=processor)
    if place.is_main:
        print("calibrating", file=sys.stderr)
    pixels = _calibration_pixels(train, float_model.preprocess)
    ranges = calibrate(graph, plan, pixel_batches(pixels))
    # It starts where `convert --calib` ends: biases take up the mean that int8 adds.
    biases, _ = find_biases(float_model, pixels, ranges, processor)
    parameters = dict(graph.named_parameters())
    with torch.no_grad():
        for bias, delta in biases.items():
            parameters[bias].add_(delta)
    quantized = quantized_weight_names(graph, plan)  # before fake quantization comes between operators and weights
    preprocess = float_model.preprocess
    model = QatModel(graph, plan, ranges, preprocess.mean, preprocess.std, num_processes=place.num_processes)
    checkpoint = folder / f"{name}_int8.safetensors"
    float_copy = folder / f"{name}_float.safetensors"

    def save(module: nn.Module, top1: float, is_start: bool) -> None:
        precision = "int8_ptq" if is_start else "int8_qat"
        metadata = _metadata(name, resolution, classes, top1, num_val_images) | {"precision": precision}
        metadata |= {} if own is None else {"network": own.source, **pictures_of(preprocess)}
        if source.path is None:  # what the user's function gave
            with written(float_copy):
                floats = metadata | {"form": "training"}
                write_checkpoint(float_copy, float_model.module.model.state_dict(), floats)  # type: ignore
        elif source.path.resolve() != float_copy.resolve():
            with written(float_copy):
                shutil.copyfile(source.path, float_copy)
        with written(checkpoint):
            metadata |= {"float_file": float_copy.name, "processor": processor.name}
            save_quantized(checkpoint, module.weights(), module.ranges(), quantized, metadata)

    return Student(model=model, checkpoint=checkpoint, save=save, freeze=model.freeze_ranges)


def _metadata(
    name: str, resolution: int, classes: Sequence[dict[str, str]], top1: float, num_val_images: int
) -> dict[str, Any]:
    return {
        "model": name, "resolution": resolution, "classes": list(classes), "top1": round(top1, 3),
        "num_val_images": num_val_images,
    }  # fmt: skip


def _calibration_pixels(train: ImageSet, preprocess: Preprocess) -> np.ndarray:
    """Return training pictures spread over the classes, uint8 (N, R, R, 3), prepared as for evaluation."""
    return np.concatenate([batch.pixels for batch in BatchLoader(choose(train, NUM_CALIBRATION_PICTURES), preprocess)])
