"""Where quantization loses accuracy: what each layer adds to the noise, and what int8 in it costs at the end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from converters.sqnr import ratio_db
from edge_vit.quantization.graph import export_graph, value_names
from edge_vit.quantization.simulate import Layer, Simulation, Values, channel_axes, rounded

# Above this a value counts as exact: pixels are integers, and rounding the first time is no loss to speak of.
_EXACT_DB = 50.0
_OUTLIER = 8.0  # a channel whose largest value is so many times the middle channel's
_NO_LABEL = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFigures:
    """What int8 in one layer does; ratios are signal to quantization noise in dB, infinite without noise.

    Attributes:
        name: As `Layer.name`; `operators` are its int8 operators.
        own_db: At what the layer gives, with it alone in int8.
        logits_db: At the logits, with it alone in int8.
        loss_alone: How much the mean loss rises with it alone in int8.
        loss_without: How much the mean loss of the int8 network rises, or falls, when it alone is left in float.
        low, high: Of the range, and `seen_low`, `seen_high` of the values of these pictures.
        clipped: Share of the values beyond the range, 0 to 1.
        outliers: Channels whose largest value is 8 times the middle channel's or more, of `channels`; None where the
            values have no channels.
    """

    name: str
    operators: tuple[str, ...]
    own_db: float
    logits_db: float
    loss_alone: float
    loss_without: float
    low: float
    high: float
    seen_low: float
    seen_high: float
    clipped: float
    outliers: int | None
    channels: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """All layers, the one that costs most first, and the whole network; top-1 in percent, None without labels."""

    layers: tuple[LayerFigures, ...]
    num_images: int
    float_loss: float
    int8_loss: float
    float_top1: float | None
    int8_top1: float | None
    agreement: float
    logits_db: float


def measure_layers(
    simulation: Simulation,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    progress: Callable[[int], None] = lambda done: None,
) -> Sensitivity:
    """Measure every layer alone in int8, and the int8 network with that layer alone in float.

    The loss is cross entropy with the picture's class; where a batch has no classes, with the float network's answers.

    Args:
        batches: Pixels (B, H, W, 3), uint8, and classes (B,), -1 where unknown; B as the simulation's graph takes it.
        progress: Called with the pictures that are done.

    Raises:
        ValueError: If there is no batch.
    """
    layers = [layer for layer in simulation.layers if not layer.is_exact]
    every = [layer.name for layer in simulation.layers]
    sums = {layer.name: _Sums(layer, channel_axes(simulation.plan)) for layer in layers}
    whole = _Whole()
    for pixels, labels in batches:
        images = torch.from_numpy(pixels).float()
        exact, int8 = simulation.run(images, ()), simulation.run(images, every)
        judge = _Judge(simulation.logits(exact), torch.from_numpy(labels))
        whole.add(judge, simulation.logits(int8))
        for layer in layers:
            alone = simulation.run(images, (layer.name,), exact, layer.first)
            others = [name for name in every if name != layer.name]
            without = simulation.run(images, others, int8, layer.first)
            sums[layer.name].add(exact, alone, judge.loss(simulation.logits(without)), judge, simulation)
        progress(whole.count)
    if not whole.count:
        raise ValueError("no pictures to measure on; give a folder with at least one readable image")
    figures = [total.figures(whole, simulation) for total in sums.values()]
    return whole.result(sorted(figures, key=lambda one: (one.logits_db, one.name)))


class _Judge:
    """One batch's float logits and classes, to judge other logits by."""

    def __init__(self, exact: Tensor, labels: Tensor) -> None:
        self.exact, self.labels = exact, labels
        self.has_labels = bool((labels != _NO_LABEL).all())
        self._target = labels if self.has_labels else exact.softmax(1)

    def loss(self, logits: Tensor) -> float:
        """Return the loss summed over the batch."""
        return float(nn.functional.cross_entropy(logits, self._target, reduction="sum"))


class _Whole:
    """The float and the int8 network over all batches."""

    def __init__(self) -> None:
        self.count = self.same = self.right = self.exact_right = 0
        self.loss = self.exact_loss = self.signal = self.noise = 0.0
        self.has_labels = True

    def add(self, judge: _Judge, logits: Tensor) -> None:
        exact, chosen = judge.exact, judge.exact.argmax(1)
        self.count += len(exact)
        self.same += int((chosen == logits.argmax(1)).sum())
        self.exact_right += int((chosen == judge.labels).sum())
        self.right += int((logits.argmax(1) == judge.labels).sum())
        self.exact_loss += judge.loss(exact)
        self.loss += judge.loss(logits)
        self.signal += float(exact.double().square().sum())
        self.noise += float((exact - logits).double().square().sum())
        self.has_labels = self.has_labels and judge.has_labels

    def result(self, layers: Iterable[LayerFigures]) -> Sensitivity:
        percent = 100.0 / self.count
        return Sensitivity(
            layers=tuple(layers),
            num_images=self.count,
            float_loss=self.exact_loss / self.count,
            int8_loss=self.loss / self.count,
            float_top1=percent * self.exact_right if self.has_labels else None,
            int8_top1=percent * self.right if self.has_labels else None,
            agreement=self.same / self.count,
            logits_db=ratio_db(self.signal, self.noise),
        )


class _Sums:
    """One layer over all batches."""

    def __init__(self, layer: Layer, axes: dict[Node, int]) -> None:
        self._layer = layer
        entries = [entry for entry in layer.group.entries if entry in axes]
        self._channels_of = (entries[0], axes[entries[0]]) if entries else None
        self._signal = self._noise = self._logit_noise = self._loss_alone = self._loss_without = 0.0
        self._low, self._high = float("inf"), float("-inf")
        self._num_values = self._num_clipped = 0
        self._largest: Tensor | None = None

    def add(self, exact: Values, alone: Values, loss_without: float, judge: _Judge, simulation: Simulation) -> None:
        logits = simulation.logits(alone)
        self._logit_noise += float((judge.exact - logits).double().square().sum())
        self._loss_alone += judge.loss(logits)
        self._loss_without += loss_without
        low, high = _ends(self._layer)
        for entry in self._layer.group.entries:
            values = exact[entry]
            self._signal += float(values.double().square().sum())
            self._noise += float((values - rounded(alone[entry], self._layer.grid)).double().square().sum())
            self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
            self._num_values += values.numel()
            self._num_clipped += int(((values < low) | (values > high)).sum())
        if self._channels_of is not None:
            entry, axis = self._channels_of
            largest = exact[entry].abs().transpose(0, axis).flatten(1).amax(1)
            self._largest = largest if self._largest is None else torch.maximum(self._largest, largest)

    def figures(self, whole: _Whole, simulation: Simulation) -> LayerFigures:
        low, high = _ends(self._layer)
        outliers = None
        if self._largest is not None:
            outliers = int((self._largest >= _OUTLIER * self._largest.median().clamp_min(1e-20)).sum())
        return LayerFigures(
            name=self._layer.name,
            operators=tuple(simulation.plan.names[node] for node in self._layer.operators),
            own_db=ratio_db(self._signal, self._noise),
            logits_db=ratio_db(whole.signal, self._logit_noise),
            loss_alone=(self._loss_alone - whole.exact_loss) / whole.count,
            loss_without=(self._loss_without - whole.loss) / whole.count,
            low=low,
            high=high,
            seen_low=self._low,
            seen_high=self._high,
            clipped=self._num_clipped / self._num_values,
            outliers=outliers,
            channels=None if self._largest is None else len(self._largest),
        )


def _ends(layer: Layer) -> tuple[float, float]:
    """Return the ends of a layer's range, and half a step beyond: what lies within is rounded, not clipped."""
    grid = layer.grid
    return grid.scale * (-128 - grid.zero_point - 0.5), grid.scale * (127 - grid.zero_point + 0.5)


def layer_sqnr(float_module: nn.Module, quantized: GraphModule, pixels: np.ndarray) -> list[tuple[str, float]]:
    """Compare every value of the quantized graph with the float one.

    Args:
        float_module: Pixels (1, R, R, 3) -> logits.
        quantized: The qdq graph made of it.
        pixels: Pictures, uint8 (N, R, R, 3).

    Returns:
        (value name, loss in dB): how much lower its signal-to-quantization-noise ratio is than the lowest of the values
        it was computed from; the largest losses first.
    """
    side = pixels.shape[1]
    exported = export_graph(float_module, torch.zeros(1, side, side, 3))
    names = {node.name: name for node, name in value_names(exported).items()}
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for image in pixels:
        example = torch.from_numpy(image[None]).float()
        expected, actual = _record(exported, example, set(names)), _record(quantized, example, set(names))
        for node_name in expected.keys() & actual.keys():
            e, a = expected[node_name].double(), actual[node_name].double()
            signal[node_name] = signal.get(node_name, 0.0) + float(e.square().sum())
            noise[node_name] = noise.get(node_name, 0.0) + float((e - a).square().sum())
    ratio = {n: min(_EXACT_DB, ratio_db(max(signal[n], 1e-20), max(noise[n], 1e-20))) for n in signal}
    losses = []
    for node in exported.graph.nodes:
        sources = [ratio[source.name] for source in node.all_input_nodes if source.name in ratio]
        if node.name in ratio and sources:
            losses.append((names[node.name], float(min(sources) - ratio[node.name])))
    return sorted(losses, key=lambda entry: -entry[1])


def _record(graph_module: GraphModule, example: Tensor, wanted: set[str]) -> dict[str, Tensor]:
    recorder = _Recorder(graph_module, wanted)
    with torch.no_grad():
        recorder.run(example)
    return recorder.values


class _Recorder(Interpreter):
    """Keep the values of the named nodes."""

    def __init__(self, graph_module: GraphModule, wanted: set[str]) -> None:
        super().__init__(graph_module)
        self.wanted = wanted
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.target == torch.ops.quantized_decomposed.dequantize_per_tensor.default:
            # What the graph goes on with is the rounded value: it counts as the value of the operator that computed it.
            quantize = n.args[0]
            source = quantize.args[0] if isinstance(quantize, Node) and quantize.args else None
            if isinstance(source, Node) and source.name in self.wanted:
                self.values[source.name] = value
        elif n.name in self.wanted and isinstance(value, Tensor) and value.dtype.is_floating_point:
            self.values[n.name] = value
        return value
