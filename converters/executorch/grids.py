"""The int8 operators of a .pte file's XNNPACK delegates."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from converters.executorch.inspect import delegate_body, payload_json
from converters.flatbuffer import Table
from converters.grids import Grid, Int8Operator, digest_weights, make_grid

_KINDS = {
    "Conv2d": "gemm", "DepthwiseConv2d": "gemm", "FullyConnected": "gemm", "BatchMatrixMultiply": "matmul",
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "GlobalAvgPooling2d": "mean", "AvgPooling2d": "mean",
    "Sigmoid": "sigmoid", "Concatenate2": "concat", "Concatenate3": "concat", "Concatenate4": "concat",
    "Concatenate5": "concat",
}  # fmt: skip
_NONE = 0xFFFFFFFF
_INT8 = ("xnn_datatype_qint8", "xnn_datatype_qcint8")


def read(path: Path) -> list[Int8Operator]:
    """Return the int8 operators of every delegate, in the file's order.

    Raises:
        ValueError: If the file is damaged.
        ImportError: If ExecuTorch is not installed.
    """
    file = read_file(path)
    named = {name: file.named_data.buffers[entry.buffer_index] for name, entry in file.named_data.pte_data.items()}
    found = []
    stored = _stored_arguments(file.program)
    for number, delegate in enumerate(file.program.backend_delegate_data):
        found += _Delegate(bytes(delegate.data), named, stored.get(number, frozenset())).operators()
    return found


def read_file(path: Path) -> Any:
    """Return a .pte file as ExecuTorch's own classes; raises as `read`."""
    try:
        from executorch.exir._serialize._program import deserialize_pte_binary
    except ImportError as e:
        raise ImportError("reading .pte files needs ExecuTorch; pip install 'edge_vit[executorch]'") from e
    try:
        return deserialize_pte_binary(path.read_bytes())
    except (ValueError, AssertionError, struct.error, IndexError) as e:
        raise ValueError(f"{path}: damaged .pte file ({e})") from e


def _stored_arguments(program: Any) -> dict[int, frozenset[int]]:
    """Return, for each delegate, which of its arguments are constants of the program around it."""
    found = {}
    for plan in program.execution_plan:
        for instruction in (i.instr_args for chain in plan.chains for i in chain.instructions):
            if type(instruction).__name__ == "DelegateCall":
                values = [plan.values[argument].val for argument in instruction.args]
                constant = {i for i, value in enumerate(values) if getattr(value, "data_buffer_idx", 0)}
                found[plan.delegates[instruction.delegate_index].processed.index] = frozenset(constant)
    return found


class _Delegate:
    """One XNNPACK graph: its structure from JSON, its scales, which JSON rounds, from the flatbuffer itself."""

    def __init__(self, blob: bytes, named: dict[str, bytes], stored: frozenset[int]) -> None:
        body = delegate_body(blob)
        self._graph, self._named, self._stored = payload_json(body), named, stored
        scales = tensor_scales(body)
        self._values: dict[int, dict[str, Any]] = {}
        self._scales: dict[int, float] = {}
        for value, scale in zip(self._graph["xvalues"], scales, strict=True):
            union = value["xvalue_union"]
            tensor = union.get("tensor_value", union)
            self._values[tensor["id_out"]] = tensor | union
            self._scales[tensor["id_out"]] = scale

    def operators(self) -> list[Int8Operator]:
        found = []
        for entry in self._graph["xnodes"]:
            kind = entry["xnode_union_type"].removeprefix("XNN")
            node = entry["xnode_union"]
            if kind not in _KINDS or not self._is_int8(node["output_id"]):
                continue
            names = ["input1_id"] if _KINDS[kind] == "gemm" else sorted(k for k in node if k.startswith("input"))
            names = [name for name in names if name.endswith("_id")]
            sources = [node[name] for name in names if node[name] != _NONE]
            grids = tuple(sorted(self._grid(s) for s in sources if not self._is_constant(s)))
            weights = self._weights(node["filter_id"], kind) if _KINDS[kind] == "gemm" else ""
            name = f"{kind}.{node['output_id']}"
            found.append(Int8Operator(_KINDS[kind], name, grids, self._grid(node["output_id"]), weights))
        return found

    def _is_int8(self, value: int) -> bool:
        return self._values[value]["datatype"] in _INT8

    def _is_constant(self, value: int) -> bool:
        """Tell whether a value is stored in the file, inside or outside of the delegate, or is such a one moved."""
        tensor = self._values[value]
        if tensor["constant_buffer_idx"] or tensor["external_id"] in self._stored:
            return True
        for entry in self._graph["xnodes"]:
            node = entry["xnode_union"]
            if node.get("output_id") == value and "input_id" in node and "Static" in entry["xnode_union_type"]:
                return self._is_constant(node["input_id"])
        return False

    def _grid(self, value: int) -> Grid:
        return make_grid(self._scales[value], self._values[value]["quant_params"]["zero_point"])

    def _weights(self, value: int, kind: str) -> str:
        tensor = self._values[value]
        integers = np.frombuffer(self._constant(tensor["constant_buffer_idx"]), np.int8)
        size = int(np.prod(tensor["dims"]))
        params = tensor["quant_params"]
        scales = np.frombuffer(self._constant(params["scale_buffer_idx"]), "<f4")[: params["num_scales"]]
        integers = integers[:size].reshape(tensor["dims"])
        if kind == "DepthwiseConv2d":
            integers = integers.transpose(3, 1, 2, 0)  # (1, H, W, O) -> (O, H, W, 1)
        return digest_weights(integers, scales)

    def _constant(self, index: int) -> bytes:
        return self._named[self._graph["constant_data"][index]["named_key"]]


def tensor_scales(body: bytes) -> list[float]:
    """Return the scale of each of a graph's values, 0.0 for what has none or one a channel.

    The numbers of the fields are those of ExecuTorch's schema.fbs: XNNGraph.xvalues is field 2; an XValue's union has
    its type in field 0 and its table in field 1; XNNQuantizedTensorValue has quant_params (type 1, table 2).
    """
    return [_scale(xvalue) for xvalue in Table.root(body).tables(2)]


def _scale(xvalue: Table) -> float:
    quantized = xvalue.table(1) if xvalue.number(0, "B") == 2 else None
    params = quantized.table(2) if quantized is not None and quantized.number(1, "B") == 2 else None
    return 0.0 if params is None else params.number(0, "f", 0.0)
