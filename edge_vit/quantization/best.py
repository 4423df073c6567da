"""Calibration without training as good as it gets: ranges and biases chosen by what they do to the logits.

1. Each range in its turn is the one of several (lowest and highest value, least squared error, percentiles, entropy)
   that alone makes the least noise at the logits, on pictures held back from those that the candidates come from.
2. Weights are rounded one input after the other, and those that follow take up what rounding did to the layer's output
   on the pictures (GPTQ, arXiv 2210.17323), layer after layer, each on the inputs that it will have.
3. Biases take up the mean that int8 adds to each output channel (bias correction, arXiv 1906.04721, section 4.2).

A step that leaves more noise at the logits of the pictures held back is not taken. `find_biases` takes the last one
alone, for ranges that stand. With activations of 16 bits ranges make no noise: `find_wide` goes from the lowest to the
highest value, and further, and takes the last two steps, for the weights alone. Cross-layer equalization (section 4.1
there) and SmoothQuant (arXiv 2211.10438) have nothing to do here: between our layers stands a Hardswish, which does not
commute with a scale, and there is no layer norm whose scale could take one up.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from calibration.ranges import RangeObserver
from converters.sqnr import sqnr_db
from edge_vit.quantization.graph import ATEN, count_readers, export_graph, get_tensor
from edge_vit.quantization.pipeline import FloatModel, pixel_batches, prepare_int8
from edge_vit.quantization.plan import GEMM_OPS, Plan, QParams, RangeGroup, make_plan
from edge_vit.quantization.processors import CPU, Processor
from edge_vit.quantization.ptq import observe, qparams_of
from edge_vit.quantization.quantizer import WEIGHT_MAX
from edge_vit.quantization.simulate import Part, Runner, Simulation

LEAST_PICTURES = 4
NUM_HELD_BACK = 16  # pictures that steps are judged on
NUM_TRIED_ON = 8  # of these, those that candidates are tried on, one layer at a time
NUM_CORRECTED_ON = 32
NUM_WIDE_CORRECTED_ON = 96
WIDE_REACH = 2.0  # of what calibration saw: a bit of sixteen, so that no other picture is clipped
_BATCH = 8
_DAMPING = 0.01  # of the mean of the inputs' second moments, as the paper has it
_PERCENTILES = (99.9, 99.99, 99.999)


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """What was chosen.

    Attributes:
        ranges: By group.
        biases: What is added to the graph's parameters of these names.
        weights: What takes the place of these parameters: numbers of their int8 grid.
        methods: How many ranges each candidate gave.
        noise_db: Signal to noise at the logits of the pictures held back, after each step.
    """

    ranges: dict[str, QParams]
    biases: dict[str, Tensor]
    weights: dict[str, Tensor]
    methods: dict[str, int]
    noise_db: dict[str, float]


def find_best(float_model: FloatModel, pixels: np.ndarray, processor: Processor = CPU) -> Best:
    """Choose ranges and biases for a float model.

    Args:
        pixels: Calibration pictures, (N, H, W, 3), uint8; a quarter of them, at most 16, is held back.

    Raises:
        ValueError: If there are fewer than four pictures.
    """
    seen, judged = _divided(pixels)
    graph, plan = _planned(float_model, processor)
    observers = observe(graph, plan, pixel_batches(seen, min(_BATCH, len(seen))))
    is_symmetric = {name: plan.groups[name].kind == "symmetric" for name in observers}
    usual = {
        name: qparams_of(one.mse(symmetric=is_symmetric[name]), is_symmetric[name]) for name, one in observers.items()
    }
    made = prepare_int8(float_model, None, batch=2, is_free_batch=True, processor=processor, known_ranges=usual)
    simulation = Simulation(made)
    noise = {"mse": _db(simulation, judged)}
    candidates = {name: _candidates(one, is_symmetric[name]) for name, one in observers.items()}
    chosen = _choose(simulation, judged[:NUM_TRIED_ON], candidates)
    simulation.regrid_({name: candidates[name][method] for name, method in chosen.items()})
    noise["range by range"] = _db(simulation, judged)
    if noise["range by range"] < noise["mse"]:
        chosen = dict.fromkeys(chosen, "mse")
        simulation.regrid_(usual)
    weights, biases = _correct(simulation, seen[:NUM_CORRECTED_ON], judged, noise)
    return Best(
        ranges={name: candidates[name][method] for name, method in chosen.items()},
        biases=biases,
        weights=weights,
        methods=dict(Counter(chosen.values())),
        noise_db={step: round(decibels, 2) for step, decibels in noise.items()},
    )


def find_wide(float_model: FloatModel, pixels: np.ndarray, processor: Processor) -> Best:
    """Choose ranges, int8 weights and biases for activations of 16 bits; arguments and errors as of `find_best`."""
    seen, judged = _divided(pixels)
    graph, plan = _planned(float_model, processor)
    observers = observe(graph, plan, pixel_batches(seen, min(_BATCH, len(seen))))
    ranges = {
        name: qparams_of(_wide_ends(plan.groups[name], one), plan.groups[name].kind == "symmetric")
        for name, one in observers.items()
    }
    made = prepare_int8(float_model, None, batch=2, is_free_batch=True, processor=processor, known_ranges=ranges)
    simulation = Simulation(made)
    noise = {"nearest": _db(simulation, judged, only="operators")}
    weights, biases = _correct(simulation, seen[:NUM_WIDE_CORRECTED_ON], judged, noise, only="operators")
    return Best(
        ranges=ranges,
        biases=biases,
        weights=weights,
        methods={"min_max": len(ranges)},
        noise_db={step: round(decibels, 2) for step, decibels in noise.items()},
    )


def find_biases(
    float_model: FloatModel,
    pixels: np.ndarray,
    ranges: Mapping[str, QParams],
    processor: Processor = CPU,
    keep_float: Collection[str] = (),
    is_wide: bool = False,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Correct the biases for ranges that stand: step 3 alone.

    Args:
        pixels: As of `find_best`; of fewer than four nothing can be held back, and nothing is corrected.
        ranges: Of the plan with `keep_float`, all of it.
        is_wide: Activations will have 16 bits: only what rounding weights does is corrected.

    Returns:
        What is added to the graph's parameters of these names, numbers that float16 holds; and the signal to noise at
        the logits of the pictures held back, in dB, before and after. No biases where they do not gain.
    """
    if len(pixels) < LEAST_PICTURES:
        return {}, {}
    seen, judged = _divided(pixels)
    made = prepare_int8(
        float_model, pixel_batches(seen, min(_BATCH, len(seen))), batch=2, is_free_batch=True, processor=processor,
        keep_float=keep_float, known_ranges=ranges,
    )  # fmt: skip
    simulation = Simulation(made)
    only: Part | None = "operators" if is_wide else None
    noise = {"before": _db(simulation, judged, only)}
    correcting = _Correcting(simulation, torch.from_numpy(seen[:NUM_CORRECTED_ON]).float(), False, only)
    noise["after"] = _db(simulation, judged, only)
    biases = {name: delta.half().float() for name, delta in correcting.biases().items()}
    return biases if noise["after"] > noise["before"] else {}, {key: round(value, 2) for key, value in noise.items()}


def _wide_ends(group: RangeGroup, observer: RangeObserver) -> tuple[float, float]:
    """Return more than what was seen, but no more than clipping lets through: it then needs no operator of its own."""
    low, high = (WIDE_REACH * end for end in observer.min_max())
    if all(entry.target == ATEN.hardtanh.default for entry in group.entries):
        least, most = zip(*((entry.args[1], entry.args[2]) for entry in group.entries), strict=True)
        return max(low, min(least)), min(high, max(most))
    return low, high


def _divided(pixels: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Return the pictures to choose by, and those that steps are judged on."""
    if len(pixels) < LEAST_PICTURES:
        raise ValueError(f"{len(pixels)} calibration pictures are too few for --calib-method best; give 4 or more")
    held = min(NUM_HELD_BACK, len(pixels) // 4)
    return pixels[:-held], torch.from_numpy(pixels[-held:]).float()


def _planned(float_model: FloatModel, processor: Processor) -> tuple[GraphModule, Plan]:
    example = torch.zeros(2, *float_model.preprocess.size, 3)
    graph = export_graph(float_model.module, example, True, has_floats=processor.has_floats)
    return graph, make_plan(graph, processor=processor)


def _correct(
    simulation: Simulation, seen: np.ndarray, judged: Tensor, noise: dict[str, float], only: Part | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return weights and biases that leave less noise than what `noise` knows, none where none do; note theirs there.

    Args:
        only: "operators" to leave values in float.
    """
    best_db = max(noise.values())
    weights: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    images = torch.from_numpy(seen).float()
    for step, is_rounding in (("weights and biases", True), ("biases", False)):
        correcting = _Correcting(simulation, images, is_rounding, only)
        noise[step] = _db(simulation, judged, only)
        if noise[step] > best_db:
            weights, biases, best_db = correcting.weights(), correcting.biases(), noise[step]
        correcting.undo_()
    return weights, biases


def _candidates(observer: RangeObserver, is_symmetric: bool) -> dict[str, QParams]:
    """Return every candidate by its name; equal ones once."""
    ends = {
        "mse": observer.mse(symmetric=is_symmetric),
        "min_max": observer.min_max(),
        **{f"percentile {percent}": observer.percentile(percent) for percent in _PERCENTILES},
        "entropy": observer.entropy(symmetric=is_symmetric),
    }
    found = {name: qparams_of(pair, is_symmetric) for name, pair in ends.items()}
    names: dict[QParams, str] = {}
    for name, grid in found.items():
        names.setdefault(grid, name)
    return {name: grid for grid, name in names.items()}


def _choose(simulation: Simulation, images: Tensor, candidates: Mapping[str, Mapping[str, QParams]]) -> dict[str, str]:
    """Return for each layer the candidate that alone, all else in float, makes the least noise at the logits."""
    exact = simulation.run(images, ())
    logits = simulation.logits(exact).double()
    usual = {layer.name: layer.grid for layer in simulation.layers}
    chosen: dict[str, str] = {}
    for layer in simulation.layers:
        noise = {}
        for name, grid in candidates.get(layer.name, {}).items():
            simulation.regrid_({layer.name: grid})
            values = simulation.run(images, (layer.name,), exact, layer.first, only="values")
            noise[name] = float((simulation.logits(values).double() - logits).square().sum())
        if noise:
            chosen[layer.name] = min(noise, key=lambda name: noise[name])
    simulation.regrid_(usual)
    return chosen


class _Correcting(Runner):
    """Run all layers in int8; shift what each convolution and linear layer gives to the mean that it has in float.

    Args:
        images: Pictures to correct on, (B, H, W, 3), float.
        is_rounding: Choose how weights are rounded, too.
        only: "operators" to leave values in float.
    """

    def __init__(self, simulation: Simulation, images: Tensor, is_rounding: bool, only: Part | None = None) -> None:
        super().__init__(simulation, simulation.layers)
        if only == "operators":
            self.grid_of = {}
        self._exact = simulation.run(images, ())
        self._is_rounding = is_rounding
        readers = count_readers(simulation.graph)
        gemms = [node for node in simulation.plan.int8_nodes if node.target in GEMM_OPS]

        def is_own(node: Node, place: int) -> bool:
            argument = node.args[place] if len(node.args) > place else None
            is_stored = isinstance(argument, Node) and argument.op == "get_attr"
            return is_stored and readers[id(get_tensor(simulation.graph, argument))] == 1

        self._with_bias = {node for node in gemms if is_own(node, 2)}
        self._with_weight = {node for node in gemms if is_own(node, 1)}
        self.deltas: dict[Node, Tensor] = {}
        self._before: dict[Node, Tensor] = {}
        with torch.no_grad():
            self.run(images)
            for node, delta in self.deltas.items():
                self._tensor(node, 2).add_(delta)

    def biases(self) -> dict[str, Tensor]:
        """Return what was added, by the parameters' names."""
        return {str(node.args[2].target): delta for node, delta in self.deltas.items()}  # type: ignore[union-attr]

    def weights(self) -> dict[str, Tensor]:
        """Return the rounded weights, by the parameters' names."""
        return {str(node.args[1].target): self._tensor(node, 1).clone() for node in self._before}  # type: ignore[union-attr]

    def undo_(self) -> None:
        """Give the simulation's graph its own biases and weights back."""
        with torch.no_grad():
            for node, delta in self.deltas.items():
                self._tensor(node, 2).sub_(delta)
            for node, weight in self._before.items():
                self._tensor(node, 1).copy_(weight)

    def compute(self, n: Node) -> Any:
        if self._is_rounding and n in self._with_weight:
            weight = self._tensor(n, 1)
            self._before[n] = weight.clone()
            exact = self._simulation.float_constants(n)[1]
            weight.copy_(round_weights(exact, weight, _moments(n, self.env[n.args[0]])))  # type: ignore[index]
        value = super().compute(n)
        if n not in self._with_bias:
            return value
        axis = 1 if n.target == ATEN.conv2d.default else value.dim() - 1
        others = [i for i in range(value.dim()) if i != axis]
        delta = (self._exact[n] - value).mean(others)
        self.deltas[n] = delta
        return value + delta.view([-1 if i == axis else 1 for i in range(value.dim())])

    def _tensor(self, node: Node, place: int) -> Tensor:
        return get_tensor(self._simulation.graph, node.args[place])


def round_weights(exact: Tensor, nearest: Tensor, moments: Tensor) -> Tensor:
    """Round a weight so that what it makes of some inputs changes least.

    Args:
        exact: (O, ...), float.
        nearest: The same, each rounded to its nearest: its largest value of a channel is 127 steps of the grid.
        moments: Mean products of the layer's inputs with each other, (G, I, I), I the size of a channel's weights, for
            each of the G groups that the channels are divided into in their order.

    Returns:
        Numbers of the same grid, of the shape of `exact`. A channel's largest stays, since its grid is known by it.
    """
    groups, size = moments.shape[:2]
    left, usual = (one.flatten(1).double().view(groups, -1, size).clone() for one in (exact, nearest))
    scale = usual.abs().amax(2, keepdim=True).clamp_min(1e-30) / WEIGHT_MAX
    largest = usual.abs().argmax(2, keepdim=True)
    moments = moments.double().clone()
    diagonal = moments.diagonal(dim1=1, dim2=2)
    diagonal += _DAMPING * diagonal.mean(1, keepdim=True).clamp_min(1e-12)
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moments)), upper=True)
    found = torch.empty_like(left)
    for i in range(size):
        column = left[:, :, i : i + 1]
        rounded = (column / scale).round().clamp(-WEIGHT_MAX, WEIGHT_MAX) * scale
        found[:, :, i : i + 1] = torch.where(largest == i, usual[:, :, i : i + 1], rounded)
        error = (column - found[:, :, i : i + 1]) / factor[:, i : i + 1, i : i + 1]
        left[:, :, i + 1 :] -= error * factor[:, i : i + 1, i + 1 :]
    return found.to(exact.dtype).view_as(exact)


def _groups(node: Node) -> int:
    return cast(int, node.args[6]) if node.target == ATEN.conv2d.default and len(node.args) > 6 else 1


def _moments(node: Node, value: Tensor) -> Tensor:
    """Return the mean products of the inputs of a convolution or linear layer, see `round_weights`."""
    if node.target != ATEN.conv2d.default:
        rows = value.flatten(0, -2).double()
        return (rows.T @ rows / len(rows))[None]
    kernel = tuple(cast(Node, node.args[1]).meta["val"].shape[2:])
    stride, padding, dilation = (_pair(node, place, usual) for place, usual in ((3, 1), (4, 0), (5, 1)))
    total: Tensor | float = 0.0
    for picture in value:  # one at a time: all windows of all pictures may be gigabytes
        windows = torch.nn.functional.unfold(picture[None], kernel, dilation, padding, stride)
        rows = windows.view(_groups(node), -1, windows.shape[2])  # (G, I, N)
        total = total + (rows @ rows.transpose(1, 2)).double() / (rows.shape[2] * len(value))
    assert isinstance(total, Tensor)
    return total


def _pair(node: Node, place: int, usual: int) -> tuple[int, ...]:
    given = cast("Sequence[int]", node.args[place]) if len(node.args) > place else [usual]
    return tuple(given) if len(given) == 2 else (given[0], given[0])


def _db(simulation: Simulation, images: Tensor, only: Part | None = None) -> float:
    """Return the signal to noise of the int8 network's logits, all layers in int8; `only` as of `Simulation.run`."""
    exact = simulation.run(images, ())
    values = simulation.run(images, [layer.name for layer in simulation.layers], only=only)
    return sqnr_db(simulation.logits(exact).numpy(), simulation.logits(values).numpy())
