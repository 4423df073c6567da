"""PyTorch to ONNX: a float file, and beside it what a quantized graph knows of integers.

ONNX can hold quantize and dequantize operators, but tools that change the layout of a graph stop at them. So the file
is the float form of a qdq graph (weights on their grid), and the grids come back separately, by the names that the
file gives its values.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from converters.onnx.export import export_program, reason_of, require_exporter
from converters.passes.graph import add_constant_, finish_, get_tensor, is_dequantize, is_quantize, owned_graph
from converters.quiet import quiet

INPUT_NAME, OUTPUT_NAME = "picture", "logits"
_MARK = "edge_vit_grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxExport:
    """A written .onnx file.

    Attributes:
        grids: Scale and zero point of a value by its name in the file; empty for a float model.
        weight_scales: One scale an output channel, by `values_key` of the weight.
    """

    path: Path
    grids: dict[str, tuple[float, int]] = field(default_factory=dict)
    weight_scales: dict[str, np.ndarray] = field(default_factory=dict)


def values_key(values: np.ndarray) -> str:
    """Name a tensor by the values that it holds, in whatever order, so that it is found again in another layout."""
    return hashlib.sha256(np.sort(np.asarray(values, np.float32), axis=None).tobytes()).hexdigest()


def export_onnx(model: nn.Module, example_inputs: tuple[Tensor, ...], path: Path) -> OnnxExport:
    """Write `model`, a float module in eval mode or a qdq graph, as a float .onnx file.

    Raises:
        ValueError: If the module is in training mode, or an operator has no ONNX form.
        ImportError: If the exporter's packages are missing; the message names the extra.
    """
    require_exporter()
    try:
        with quiet(), torch.no_grad():
            graph = owned_graph(model, example_inputs)
            weight_scales = take_off_pairs_(graph)
        program = export_program(graph, example_inputs, INPUT_NAME, (OUTPUT_NAME,))
    except torch.onnx.OnnxExporterError as e:
        raise ValueError(f"this model has no ONNX form: {reason_of(e)}") from e
    program.save(str(path))
    return OnnxExport(path=path, grids=_marked(program.exported_program.graph), weight_scales=weight_scales)


def take_off_pairs_(graph: GraphModule) -> dict[str, np.ndarray]:
    """Turn a qdq graph into its float form, in place; grids stay as marks that survive an export.

    Weights keep the values of their grid; other constants, which share a grid with nothing, their own.

    Returns:
        The scales of weights, by `values_key`.
    """
    weight_scales: dict[str, np.ndarray] = {}
    changed = 0
    for node in [n for n in graph.graph.nodes if is_dequantize(n)]:
        quantize = node.args[0]
        assert isinstance(quantize, Node)
        source = quantize.args[0] if is_quantize(quantize) else quantize
        assert isinstance(source, Node)
        if "per_channel" in str(node.target):
            values = _run(graph, node, _run(graph, quantize) if is_quantize(quantize) else get_tensor(graph, quantize))
            scales = node.args[1]
            assert isinstance(scales, Node)
            key = values_key(values.numpy())
            found = get_tensor(graph, scales).detach().numpy().astype(np.float32)
            if not np.array_equal(weight_scales.setdefault(key, found), found):
                raise ValueError(f"two weights hold the values of {source} on different grids; retrain, or use PTQ")
            source = add_constant_(graph, node, values)
        elif source.op != "get_attr":
            mark = (source.name, float(node.args[1]), int(node.args[2]))  # type: ignore[arg-type]
            custom = source.meta.get("custom", {})  # copies of a graph share it: never written to
            earlier = custom.get(_MARK, mark)
            assert earlier == mark, f"{source} lies on two grids: {earlier[1:]} and {mark[1:]}"
            source.meta["custom"] = custom | {_MARK: mark}
        node.replace_all_uses_with(source)
        changed += 1
    finish_(graph, changed)
    return weight_scales


def _run(graph: GraphModule, node: Node, first: Tensor | None = None) -> Tensor:
    """Evaluate an operator on constants; `first` stands in for its first operand."""
    values = [get_tensor(graph, a) if isinstance(a, Node) and a.op == "get_attr" else a for a in node.args]
    if first is not None:
        values[0] = first
    return node.target(*values, **node.kwargs).detach()  # type: ignore[operator]


def _marked(graph: torch.fx.Graph) -> dict[str, tuple[float, int]]:
    """Return the grids of marked nodes; where one became several, the last carries the value."""
    last: dict[str, tuple[str, float, int]] = {}
    outputs = {n.name for node in graph.nodes if node.op == "output" for n in node.all_input_nodes}
    for node in graph.nodes:
        mark = node.meta.get("custom", {}).get(_MARK)
        if mark is not None:
            name = INPUT_NAME if node.op == "placeholder" else OUTPUT_NAME if node.name in outputs else node.name
            last[mark[0]] = (name, mark[1], mark[2])
    return {name: (scale, zero_point) for name, scale, zero_point in last.values()}
