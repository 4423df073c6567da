"""From weights to the graph that every converter lowers."""

import base64
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from calibration.preprocess import Preprocess
from calibration.ranges import RangeMethod
from edge_vit.layers.fuse import fuse
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.models import create_model
from edge_vit.models.features import FeatureInfo, FeatureModel
from edge_vit.models.imagenet import NUM_CLASSES, imagenet_classes
from edge_vit.models.limits import Resolution
from edge_vit.models.own import OwnNetwork
from edge_vit.models.published import PUBLISHED
from edge_vit.models.rectangles import load_model
from edge_vit.models.sources import WeightsSource, no_ranges
from edge_vit.models.weights import WithoutRandomValues, count_classes, randomize_
from edge_vit.quantization.checkpoint import load_into_graph_, ranges_from
from edge_vit.quantization.graph import export_graph, get_tensor
from edge_vit.quantization.half_scales import int8_constants, round_scales_
from edge_vit.quantization.plan import GEMM_OPS, Plan, QParams, make_plan, ranges_of
from edge_vit.quantization.processors import CPU, Processor
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.quantizer import quantize_graph

if TYPE_CHECKING:
    from edge_vit.quantization.best import Best

CalibrationMethod = RangeMethod | Literal["corrected", "best"]
_HEAD = "model.head."  # of a classifier's graph
BEST = "best"  # there: what `--calib-method best` chose
BIASES = "biases_added"  # there: what bias correction adds, see `packed`
KEPT_FLOAT = "kept_float"  # in a manifest's account of the quantization: operators left in float on purpose


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredIntegers:
    """What a quantized checkpoint holds: int8 weights with their scales, and in its metadata the ranges."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatModel:
    """A model ready for conversion in float.

    Attributes:
        module: Pixels (B, H, W, 3), float, 0 to 255 -> logits (B, classes), or a list of maps (B, C, H, W).
        weights: The label of where they came from.
        notes: What loading did, line by line, to be said to the user.
        integers: Of a quantized checkpoint.
        features: Of a backbone, what comes out; () for a classifier.
        own: Who makes it, where it is no variant.
    """

    module: nn.Module
    preprocess: Preprocess
    classes: list[dict[str, str]]
    weights: str
    notes: tuple[str, ...]
    integers: StoredIntegers | None = None
    features: tuple[FeatureInfo, ...] = ()
    own: OwnNetwork | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedModel:
    """The qdq graph and what it was made from.

    Attributes:
        graph: Takes and gives what `FloatModel.module` does, at a fixed batch.
        precision: "int8_qat" when the ranges were trained, "int8_ptq" when they were calibrated; likewise "int16_".
        narrow: Of a graph of int16 activations, the one of int8 that it was widened from.
    """

    graph: GraphModule
    plan: Plan
    ranges: dict[str, QParams]
    precision: str
    summary: dict[str, Any]
    narrow: GraphModule | None = None


def build_float(
    name: str, source: WeightsSource, resolution: Resolution | None, *, features_only: bool = False, batch: int = 1
) -> FloatModel:
    """Create, load and fuse a variant.

    Args:
        resolution: Side of the pictures in pixels, or height and width; None for what the weights were made for.
        features_only: Leave the head off, for the stages' maps.
        batch: How many pictures a graph that is exported from it will take at once.

    Raises:
        ValueError: If the weights do not fit the variant or the resolution.
    """
    notes: list[str] = []
    classes = source.metadata.get("classes") or _nameless_classes(source)
    side = source.resolution_for(name, resolution)  # type: ignore[arg-type]
    way: dict[str, Any] = {}
    if source.form == "random":
        model = create_model(name, len(classes), side, features_only=features_only)
        randomize_(model)
        notes.append("weights are random: for measuring speed, not for classifying")
    else:
        assert source.float_source.checkpoint is not None
        with WithoutRandomValues():
            model, report = load_model(
                name, source.float_source.checkpoint, len(classes), side, features_only=features_only
            )
        notes += [*report.notes, f"weights: {source.float_source.label} ({report.naming} names)"]
        if report.resized:
            notes.append(f"{len(report.resized)} position tables resampled to resolution {side}")
        if source.form == "training" and report.naming != "own" and name in PUBLISHED:
            way = {"crop_pct": PUBLISHED[name].crop_pct, "interpolation": PUBLISHED[name].interpolation}
        way |= {key: source.metadata[key] for key in ("crop_pct", "interpolation") if key in source.metadata}
    preprocess = Preprocess(resolution=side, **way)
    integers = None
    if source.form == "int8" and source.checkpoint is not None:
        integers = StoredIntegers(tensors=source.checkpoint.tensors, metadata=source.metadata)
    module = PixelInput(fuse(model.eval()), side, preprocess.mean, preprocess.std).eval()
    module.fill_batch_(batch)
    return FloatModel(
        module=module,
        preprocess=preprocess,
        classes=classes,
        weights=source.label,
        notes=tuple(notes),
        integers=integers,
        features=tuple(model.feature_info) if isinstance(model, FeatureModel) else (),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Int8Graph:
    """A float graph with all that makes it an int8 one.

    Attributes:
        graph: Constants that int8 operators read lie on their grids already.
        unrounded: Those constants as they were, by the operator's name and the argument's place.
        precision, summary: As in `QuantizedModel`.
    """

    graph: GraphModule
    plan: Plan
    ranges: dict[str, QParams]
    unrounded: dict[str, dict[int, Tensor]]
    precision: str
    summary: dict[str, Any]
    processor: Processor = CPU


def prepare_int8(
    float_model: FloatModel,
    batches: Iterable[Tensor] | None,
    method: CalibrationMethod = "mse",
    batch: int = 1,
    *,
    is_free_batch: bool = False,
    processor: Processor = CPU,
    keep_float: Collection[str] = (),
    known_ranges: Mapping[str, QParams] | None = None,
    known_biases: Mapping[str, Tensor] = MappingProxyType({}),
    is_wide: bool = False,
) -> Int8Graph:
    """Plan the int8 graph and find its ranges, in a quantized checkpoint or with calibration pixels.

    Args:
        batches: Pixels (batch, H, W, 3), float; needed for float weights, and for a quantized checkpoint where its
            ranges are for another processor.
        batch: How many pictures the graph takes at once.
        is_free_batch: It takes any number from two up; `batch` is two then.
        processor: Where it is to run; `batches` may choose those ranges that only its plan has.
        keep_float: As in `make_plan`.
        known_ranges: Ranges that were found before with the same `keep_float`; they stand. `batches` may choose what
            they lack: exported for any number of pictures, a few networks have other moves, and a range more.
        known_biases: What was added to parameters of these names then.
        is_wide: Activations will have 16 bits: the methods that look at more than ranges look at the weights alone.

    Raises:
        ValueError: If ranges are neither stored nor can be calibrated.
    """
    integers = float_model.integers
    biases: Mapping[str, Tensor] = known_biases
    weights: Mapping[str, Tensor] = {}
    is_corrected = False
    if integers is None and batches is None and known_ranges is None:
        raise no_ranges(float_model.weights)
    example = torch.zeros(batch, *float_model.preprocess.size, 3)
    graph = export_graph(float_model.module, example, is_free_batch, has_floats=processor.has_floats)
    plan = make_plan(graph, processor=processor)
    summary: dict[str, Any] = {
        "weights": "int8, symmetric, one scale an output channel",
        "activations": "int8, one scale and zero point a tensor; symmetric where a matmul's right-hand side",
    }
    if integers is not None:
        tensors = integers.tensors
        if float_model.features:
            tensors = {key: value for key, value in tensors.items() if not key.startswith(_HEAD)}
        load_into_graph_(graph, tensors, float_model.weights)
        ranges, precision = ranges_from(integers.metadata), str(integers.metadata.get("precision", "int8_qat"))
        missing = plan.missing(ranges) if known_ranges is None else []
        if missing and batches is None:
            raise ValueError(
                f"{float_model.weights} lacks {len(missing)} of the {len(plan.groups)} ranges that --processor "
                f"{processor.name} needs ({', '.join(missing[:2])}, ...); give --calib DIR to choose them from "
                f"pictures, or train with --qat --processor {processor.name}"
            )
        summary |= {"ranges_from": float_model.weights}
        if missing and batches is not None:
            ranges = calibrate(graph, plan, batches, _range_method(method)) | ranges
            summary |= {"ranges_calibrated": missing}
    elif known_ranges is not None:
        ranges, precision = {}, "int8_ptq"
        summary |= {"ranges_from": "an earlier calibration"}
    else:
        assert batches is not None
        precision = "int8_ptq"
        summary |= {"ranges_from": f"calibration, {method}"}
        if method == "best":
            found = _find_best(float_model, batches, processor, summary, is_wide)
            ranges, biases, weights = found.ranges, found.biases, found.weights
        else:
            batches = list(batches)
            ranges = calibrate(graph, plan, batches, _range_method(method))
            is_corrected = method == "corrected" and not float_model.features  # which have no logits to go by
    if keep_float:
        whole, plan = plan, make_plan(graph, processor=processor, keep_float=keep_float)
        ranges = ranges_of(plan, whole, ranges) if known_ranges is None else ranges
    if known_ranges is not None:
        is_short = bool(plan.missing(known_ranges)) and batches is not None
        ranges = (calibrate(graph, plan, batches or (), "mse") if is_short else {}) | dict(known_ranges)
    if is_corrected and batches is not None:
        biases = _find_biases(float_model, batches, ranges, processor, keep_float, summary, is_wide)
    before = _change_(graph, plan, biases, weights)
    unrounded = int8_constants(graph, plan)
    for name, constants in before.items():
        unrounded.setdefault(name, {}).update(constants)
    ranges = round_scales_(graph, plan, ranges)
    summary["ranges"] = {name: [r.scale, r.zero_point] for name, r in _all_ranges(plan, ranges).items()}
    summary["float_operators"] = [plan.names[node] for node in plan.float_nodes]
    if keep_float:
        summary[KEPT_FLOAT] = sorted(keep_float)
    return Int8Graph(
        graph=graph, plan=plan, ranges=dict(ranges), unrounded=unrounded, precision=precision, summary=summary,
        processor=processor,
    )  # fmt: skip


def _range_method(method: CalibrationMethod) -> RangeMethod:
    return "mse" if method == "corrected" or method == "best" else method


def _find_best(
    float_model: FloatModel, batches: Iterable[Tensor], processor: Processor, summary: dict[str, Any], is_wide: bool
) -> "Best":
    """Return what `find_best` or `find_wide` chooses; note it in `summary`."""
    from edge_vit.quantization.best import find_best, find_wide  # which simulate what is made here

    find = find_wide if is_wide else find_best
    found = find(float_model, _pixels(batches), processor)
    summary[BEST] = {
        "ranges_by": found.methods, "weights_rounded": len(found.weights), "biases_corrected": len(found.biases),
        "held_back_db": found.noise_db,
    }  # fmt: skip
    return found


def _find_biases(
    float_model: FloatModel,
    batches: Iterable[Tensor],
    ranges: Mapping[str, QParams],
    processor: Processor,
    keep_float: Collection[str],
    summary: dict[str, Any],
    is_wide: bool,
) -> dict[str, Tensor]:
    """Return what `best.find_biases` adds to the biases; note it in `summary`, in full."""
    from edge_vit.quantization.best import find_biases

    biases, noise_db = find_biases(float_model, _pixels(batches), ranges, processor, keep_float, is_wide)
    summary["corrected"] = {"biases_corrected": len(biases), "held_back_db": noise_db}
    summary[BIASES] = {name: packed(delta) for name, delta in biases.items()}
    return biases


def _pixels(batches: Iterable[Tensor]) -> np.ndarray:
    return torch.cat(list(batches)).numpy().astype(np.uint8)


def packed(values: Tensor) -> str:
    """Return numbers that float16 holds as text for a manifest: base64 of their bytes, lowest first."""
    return base64.b64encode(values.detach().numpy().astype("<f2").tobytes()).decode("ascii")


def unpacked(text: str) -> Tensor:
    """Return what `packed` was given.

    Raises:
        ValueError: If the text is none of its.
    """
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float32))


def _change_(
    graph: GraphModule, plan: Plan, biases: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, dict[int, Tensor]]:
    """Add to biases of int8 operators and put others in the place of weights; return those that were there before.

    Returns:
        Copies by the operator's name and the argument's place.
    """
    before: dict[str, dict[int, Tensor]] = {}
    for node in plan.int8_nodes:
        places = node.args[:3] if node.target in GEMM_OPS else ()
        for place, argument in enumerate(places):
            name = str(argument.target) if isinstance(argument, Node) else ""
            if name not in biases and name not in weights:
                continue
            tensor = get_tensor(graph, argument)
            before.setdefault(plan.names[node], {})[place] = tensor.detach().clone()
            with torch.no_grad():
                tensor.copy_(weights[name] if name in weights else tensor + biases[name])
    return before


def leave_float(made: Int8Graph, operators: Collection[str]) -> Int8Graph:
    """Return the same graph with more operators in float; for a simulation, which reads constants as they were.

    Raises:
        ValueError: If there is no such int8 operator.
    """
    known = {made.plan.names[node] for node in made.plan.int8_nodes}
    if unknown := sorted(set(operators) - known):
        raise ValueError(f"{unknown[0]}: no int8 operator of this network")
    kept = set(made.summary.get(KEPT_FLOAT, ())) | set(operators)
    plan = make_plan(made.graph, processor=made.processor, keep_float=kept)
    for node, group in plan.group_of.items():  # fixed grids were rounded in `made`
        group.fixed = group.fixed and made.plan.group_of[node].fixed
    ranges = ranges_of(plan, made.plan, made.ranges)
    return replace(made, plan=plan, ranges=ranges, summary=made.summary | {KEPT_FLOAT: sorted(kept)})


def build_quantized(
    float_model: FloatModel,
    batches: Iterable[Tensor] | None,
    method: CalibrationMethod = "mse",
    batch: int = 1,
    *,
    is_free_batch: bool = False,
    processor: Processor = CPU,
    keep_float: Collection[str] = (),
    is_wide: bool = False,
) -> QuantizedModel:
    """Make the qdq graph: from a quantized checkpoint, or from float weights and calibration pixels.

    Args:
        is_wide: Give activations 16 bits. The other arguments and the errors are those of `prepare_int8`.
    """
    made = prepare_int8(
        float_model, batches, method, batch, is_free_batch=is_free_batch, processor=processor, keep_float=keep_float,
        is_wide=is_wide,
    )  # fmt: skip
    narrow = quantize_graph(made.graph, made.plan, made.ranges)
    precision, summary = made.precision, made.summary
    if is_wide:
        precision = precision.replace("int8", "int16")
        summary = summary | {"activations": "int16, as far as the int8 grids in `ranges` reach"}
    return QuantizedModel(
        graph=quantize_graph(made.graph, made.plan, made.ranges, is_wide=True) if is_wide else narrow,
        plan=made.plan,
        ranges=made.ranges,
        precision=precision,
        summary=summary,
        narrow=narrow if is_wide else None,
    )


def num_constants(module: nn.Module) -> int:
    """Return how many numbers a deploy form carries: parameters and tables."""
    return sum(tensor.numel() for tensors in (module.parameters(), module.buffers()) for tensor in tensors)


def run_pixels(module: Callable[[Tensor], Tensor], pixels: np.ndarray, batch: int = 1) -> np.ndarray:
    """Run a pixel model, `batch` pictures at a time: uint8 (N, H, W, 3) -> logits (N, classes), float32.

    The last batch is filled up with copies of the last picture.
    """
    (outputs,) = run_outputs(module, pixels, batch)
    return outputs


def run_outputs(module: Callable[[Tensor], Any], pixels: np.ndarray, batch: int = 1) -> tuple[np.ndarray, ...]:
    """Run a pixel model of one output or several, as `run_pixels`; return each over all pictures."""
    with torch.no_grad():
        outputs = [module(images) for images in pixel_batches(pixels, batch)]
    rows = [(one,) if isinstance(one, Tensor) else tuple(one) for one in outputs]
    return tuple(torch.cat(parts)[: len(pixels)].numpy() for parts in zip(*rows, strict=True))


def pixel_batches(pixels: Sequence[np.ndarray] | np.ndarray, batch: int = 1) -> Iterable[Tensor]:
    """Yield inputs, (batch, H, W, 3) float, from uint8 pictures; the last is filled up with copies of the last one."""
    for start in range(0, len(pixels), batch):
        images = [np.asarray(image) for image in pixels[start : start + batch]]
        images += images[-1:] * (batch - len(images))
        yield torch.from_numpy(np.stack(images)).float()


def _all_ranges(plan: Plan, ranges: dict[str, QParams]) -> dict[str, QParams]:
    return {name: group.fixed or ranges[name] for name, group in plan.groups.items()}


def _nameless_classes(source: WeightsSource) -> list[dict[str, str]]:
    """Return the classes of a checkpoint that does not name them: ImageNet's where there are a thousand, else numbers.

    Random weights know no names.
    """
    if source.checkpoint is None:
        return [{"id": str(i), "name": f"ImageNet class {i}"} for i in range(NUM_CLASSES)]
    count = count_classes(source.checkpoint.tensors)
    if count == NUM_CLASSES:
        return imagenet_classes()
    return [{"id": str(i), "name": f"class {i}"} for i in range(count)]
