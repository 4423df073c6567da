"""From weights to the graph that every converter lowers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from calibration.preprocess import Preprocess
from calibration.ranges import RangeMethod
from edge_vit.layers.fuse import fuse
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.models import create_model, load_weights
from edge_vit.models.checkpoint_io import read_checkpoint
from edge_vit.models.sources import WeightsSource, resolve_label
from edge_vit.models.weights import randomize_
from edge_vit.quantization.checkpoint import load_into_graph_, ranges_from
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.half_scales import round_scales_
from edge_vit.quantization.plan import Plan, QParams, make_plan
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.quantizer import quantize_graph


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatModel:
    """A model ready for conversion in float.

    Attributes:
        module: Pixels (B, R, R, 3), float, 0 to 255 -> logits (B, classes). With quantized weights and no float
            checkpoint beside them, the quantized ones.
        notes: What loading did, line by line, to be said to the user.
    """

    module: nn.Module
    preprocess: Preprocess
    classes: list[dict[str, str]]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedModel:
    """The qdq graph and what it was made from.

    Attributes:
        graph: Takes and gives what `FloatModel.module` does, at batch one.
        precision: "int8_qat" when the ranges were trained, "int8_ptq" when they were calibrated.
    """

    graph: GraphModule
    plan: Plan
    ranges: dict[str, QParams]
    precision: str
    summary: dict[str, Any]


def build_float(name: str, source: WeightsSource, resolution: int | None) -> FloatModel:
    """Create, load and fuse a variant.

    Raises:
        ValueError: If the weights do not fit the variant or the resolution.
    """
    metadata, notes = source.metadata, []
    classes = metadata.get("classes") or _nameless_classes(source)
    trained_at = metadata.get("resolution", 224)
    side = resolution or trained_at
    model = create_model(name, num_classes=len(classes), resolution=side)
    label = source.float_label if source.form == "int8" else source.label
    if source.form == "random":
        randomize_(model)
        notes.append("weights are random: for measuring speed, not for classifying")
    elif label:
        report = load_weights(model, resolve_label(label))
        notes.append(f"weights: {label} ({report.naming} names)")
        if report.resized:
            notes.append(f"{len(report.resized)} position tables resampled to resolution {side}")
    if source.form == "int8" and side != trained_at:
        raise ValueError(
            f"{source.label} was quantized at resolution {trained_at}, not {side}; "
            f"leave --resolution out, or calibrate the float weights with --weights {source.float_label} --calib DIR"
        )
    preprocess = Preprocess(resolution=side)
    module = PixelInput(fuse(model.eval()), side, preprocess.mean, preprocess.std).eval()
    return FloatModel(module=module, preprocess=preprocess, classes=classes, notes=tuple(notes))


def build_quantized(
    float_model: FloatModel, source: WeightsSource, batches: Iterable[Tensor] | None, method: RangeMethod = "mse"
) -> QuantizedModel:
    """Make the qdq graph: from a quantized checkpoint, or from float weights and calibration pixels.

    Args:
        batches: Pixels (1, R, R, 3), float; needed for float weights, ignored for a quantized checkpoint.

    Raises:
        ValueError: If ranges are neither stored nor can be calibrated.
    """
    side = float_model.preprocess.resolution
    graph = export_graph(float_model.module, torch.zeros(1, side, side, 3))
    plan = make_plan(graph)
    summary: dict[str, Any] = {
        "weights": "int8, symmetric, one scale an output channel",
        "activations": "int8, one scale and zero point a tensor; symmetric where a matmul's right-hand side",
    }
    if source.form == "int8":
        assert source.path is not None
        tensors, metadata = read_checkpoint(source.path)
        load_into_graph_(graph, tensors, source.label)
        ranges, precision = ranges_from(metadata), str(metadata.get("precision", "int8_qat"))
        summary |= {"ranges_from": source.label}
    elif batches is not None:
        ranges, precision = calibrate(graph, plan, batches, method), "int8_ptq"
        summary |= {"ranges_from": f"calibration, {method}"}
    else:
        raise ValueError(
            f"{source.label}: float weights carry no ranges; give calibration pictures with --calib DIR, "
            "or a checkpoint from `python -m edge_vit.train --qat`"
        )
    ranges = round_scales_(graph, plan, ranges)
    quantized = quantize_graph(graph, plan, ranges)
    summary["ranges"] = {name: [r.scale, r.zero_point] for name, r in _all_ranges(plan, ranges).items()}
    summary["float_operators"] = [plan.names[node] for node in plan.float_nodes]
    return QuantizedModel(graph=quantized, plan=plan, ranges=dict(ranges), precision=precision, summary=summary)


def run_pixels(module: Callable[[Tensor], Tensor], pixels: np.ndarray) -> np.ndarray:
    """Run a pixel model one picture at a time: uint8 (N, R, R, 3) -> logits (N, classes), float32."""
    with torch.no_grad():
        outputs = [module(torch.from_numpy(image[None]).float()) for image in pixels]
    return torch.cat(outputs).numpy()


def pixel_batches(pixels: Sequence[np.ndarray] | np.ndarray) -> Iterable[Tensor]:
    """Yield calibration inputs, (1, R, R, 3) float, from uint8 pictures."""
    return (torch.from_numpy(np.ascontiguousarray(image))[None].float() for image in pixels)


def _all_ranges(plan: Plan, ranges: dict[str, QParams]) -> dict[str, QParams]:
    return {name: group.fixed or ranges[name] for name, group in plan.groups.items()}


def _nameless_classes(source: WeightsSource) -> list[dict[str, str]]:
    """Number the classes of a checkpoint that does not name them: as many as its classifier has."""
    count, kind = 1000, "ImageNet class"
    if source.path is not None:
        tensors, _ = read_checkpoint(source.path)
        heads = ("head.l.weight", "head.linear.weight", "head.weight")
        count = next((tensors[key].shape[0] for key in heads if key in tensors), 1000)
        kind = "ImageNet class" if count == 1000 else "class"
    return [{"id": str(i), "name": f"{kind} {i}"} for i in range(count)]
