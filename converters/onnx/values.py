"""The values inside an .onnx file, as ONNX Runtime computes them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.grids import Int8Operator
from converters.onnx.graph import OnnxGraph
from converters.onnx.grids import operators_of
from converters.onnx.run import load_all


def read(path: Path) -> tuple[list[Int8Operator], Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    """Open a file for `converters.values`: a copy of it gives all those values as outputs.

    Raises:
        ValueError: If the file is damaged.
        ImportError: If onnx or ONNX Runtime is not installed; the message names the extra.
    """
    graph = OnnxGraph.read(path)
    from onnx import TensorProto, helper

    found = operators_of(graph)
    names = [quantize.output[0] for _, quantize in found]
    grids = [(float(graph.constants[q.input[1]]), int(graph.constants[q.input[2]])) for _, q in found]
    kinds = [TensorProto.UINT8 if graph.constants[q.input[2]].dtype == np.uint8 else TensorProto.INT8 for _, q in found]
    kept = {output.name for output in graph.model.graph.output}
    asked = dict(zip(names, kinds, strict=True))
    graph.model.graph.output.extend(
        helper.make_tensor_value_info(name, kind, None) for name, kind in asked.items() if name not in kept
    )
    with tempfile.TemporaryDirectory(prefix="edge_vit-values-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(graph.model.SerializeToString())
        run = load_all(copy, threads=1)
    places = {output.name: place for place, output in enumerate(graph.model.graph.output)}

    def call(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        given = run(inputs)
        pairs = zip(names, grids, strict=True)
        return tuple((given[places[n]].astype(np.float32) - zero_point) * scale for n, (scale, zero_point) in pairs)

    return [operator for operator, _ in found], call
