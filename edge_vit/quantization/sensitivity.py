"""Where quantization loses accuracy: the noise that each layer adds, in graph order."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from converters.sqnr import ratio_db
from edge_vit.quantization.graph import export_graph, value_names

# Above this a value counts as exact: pixels are integers, and rounding the first time is no loss to speak of.
_EXACT_DB = 50.0


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
