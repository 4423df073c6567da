"""Calibration without training as good as it gets: ranges and biases chosen by what they do to the logits.

1. Each range in its turn is the one of several (lowest and highest value, least squared error, percentiles, entropy)
   that alone makes the least noise at the logits, on pictures held back from those that the candidates come from.
2. Biases take up the mean that int8 adds to each output channel (bias correction, arXiv 1906.04721, section 4.2), layer
   after layer, each with those before it corrected.

A step that leaves more noise at the logits of the pictures held back is not taken. Cross-layer equalization (section
4.1 there) and SmoothQuant (arXiv 2211.10438) have nothing to do here: between our layers stands a Hardswish, which does
not commute with a scale, and there is no layer norm whose scale could take one up.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from calibration.ranges import RangeObserver
from converters.sqnr import sqnr_db
from edge_vit.quantization.graph import ATEN, count_readers, export_graph, get_tensor
from edge_vit.quantization.pipeline import FloatModel, pixel_batches, prepare_int8
from edge_vit.quantization.plan import GEMM_OPS, QParams, make_plan
from edge_vit.quantization.processors import CPU, Processor
from edge_vit.quantization.ptq import observe, qparams_of
from edge_vit.quantization.simulate import Runner, Simulation, Values

NUM_HELD_BACK = 16  # pictures that steps are judged on
NUM_TRIED_ON = 8  # of these, those that candidates are tried on, one layer at a time
NUM_CORRECTED_ON = 32
_BATCH = 8
_PERCENTILES = (99.9, 99.99, 99.999)


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """What was chosen.

    Attributes:
        ranges: By group.
        biases: What is added to the graph's parameters of these names.
        methods: How many ranges each candidate gave.
        noise_db: Signal to noise at the logits of the pictures held back, after each step.
    """

    ranges: dict[str, QParams]
    biases: dict[str, Tensor]
    methods: dict[str, int]
    noise_db: dict[str, float]


def find_best(float_model: FloatModel, pixels: np.ndarray, processor: Processor = CPU) -> Best:
    """Choose ranges and biases for a float model.

    Args:
        pixels: Calibration pictures, (N, H, W, 3), uint8; a quarter of them, at most 16, is held back.

    Raises:
        ValueError: If there are fewer than four pictures.
    """
    if len(pixels) < 4:
        raise ValueError(f"{len(pixels)} calibration pictures are too few for --calib-method best; give 4 or more")
    held = min(NUM_HELD_BACK, len(pixels) // 4)
    seen, judged = pixels[:-held], torch.from_numpy(pixels[-held:]).float()
    graph = export_graph(
        float_model.module, torch.zeros(2, *float_model.preprocess.size, 3), True, has_floats=processor.has_floats
    )
    plan = make_plan(graph, processor=processor)
    observers = observe(graph, plan, pixel_batches(seen, min(_BATCH, len(seen))))
    is_symmetric = {name: plan.groups[name].kind == "symmetric" for name in observers}
    usual = {
        name: qparams_of(one.mse(symmetric=is_symmetric[name]), is_symmetric[name]) for name, one in observers.items()
    }
    made = prepare_int8(float_model, None, batch=2, is_free_batch=True, processor=processor, known_ranges=usual)
    simulation = Simulation(made)
    exact = simulation.run(judged, ())
    noise = {"mse": _db(simulation, judged, exact)}
    candidates = {name: _candidates(one, is_symmetric[name]) for name, one in observers.items()}
    chosen = _choose(simulation, judged[:NUM_TRIED_ON], candidates)
    simulation.regrid_({name: candidates[name][method] for name, method in chosen.items()})
    noise["range by range"] = _db(simulation, judged, exact)
    if noise["range by range"] < noise["mse"]:
        chosen = dict.fromkeys(chosen, "mse")
        simulation.regrid_(usual)
    corrected_on = torch.from_numpy(seen[:NUM_CORRECTED_ON]).float()
    biases = _correct_(simulation, corrected_on)
    noise["biases"] = _db(simulation, judged, exact)
    if noise["biases"] < max(noise["mse"], noise["range by range"]):
        biases = {}
    return Best(
        ranges={name: candidates[name][method] for name, method in chosen.items()},
        biases=biases,
        methods=dict(Counter(chosen.values())),
        noise_db={step: round(decibels, 2) for step, decibels in noise.items()},
    )


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


def _correct_(simulation: Simulation, images: Tensor) -> dict[str, Tensor]:
    """Correct the biases of the simulation's graph; return what was added, by the parameters' names."""
    exact = simulation.run(images, ())
    runner = _Correcting(simulation, exact)
    with torch.no_grad():
        runner.run(images)
        for node, delta in runner.deltas.items():
            get_tensor(simulation.graph, node.args[2]).add_(delta)
    return {str(node.args[2].target): delta for node, delta in runner.deltas.items()}  # type: ignore[union-attr]


class _Correcting(Runner):
    """Run all layers in int8; shift what each convolution and linear layer gives to the mean that it has in float."""

    def __init__(self, simulation: Simulation, exact: Values) -> None:
        super().__init__(simulation, simulation.layers)
        self._exact = exact
        readers = count_readers(simulation.graph)
        self._gemms = {
            node
            for node in simulation.plan.int8_nodes
            if node.target in GEMM_OPS and len(node.args) > 2 and isinstance(node.args[2], Node)
            if readers[id(get_tensor(simulation.graph, node.args[2]))] == 1
        }
        self.deltas: dict[Node, Tensor] = {}

    def compute(self, n: Node) -> Any:
        value = super().compute(n)
        if n not in self._gemms:
            return value
        axis = 1 if n.target == ATEN.conv2d.default else value.dim() - 1
        others = [i for i in range(value.dim()) if i != axis]
        delta = (self._exact[n] - value).mean(others)
        self.deltas[n] = delta
        return value + delta.view([-1 if i == axis else 1 for i in range(value.dim())])


def _db(simulation: Simulation, images: Tensor, exact: Values) -> float:
    """Return the signal to noise of the int8 network's logits, all layers in int8."""
    values = simulation.run(images, [layer.name for layer in simulation.layers])
    return sqnr_db(simulation.logits(exact).numpy(), simulation.logits(values).numpy())
