"""Say what a lowered ExecuTorch program does inside and outside its delegates."""

import json
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.manifest import OperatorsInfo

PRECISIONS = {
    "xnn_datatype_fp32": "float32", "xnn_datatype_fp16": "fp16", "xnn_datatype_qint8": "int8",
    "xnn_datatype_qcint8": "int8",
}  # fmt: skip
_CONVERSIONS = ("Convert",)
# Of delegates that say no more: in what they compute.
_COMPUTES_IN = {"CoreMLBackend": "fp16", "VulkanBackend": "float32"}


@dataclass(frozen=True, slots=True)
class OutsideOperator:
    """An operator that runs in ExecuTorch's own kernels, and why the delegate did not take it."""

    type: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class PteInspection:
    """What `inspect_lowered` found; `num_delegate_calls` counts calls, the operators are those inside and outside."""

    num_delegate_calls: int
    delegated: dict[str, dict[str, int]]
    outside: tuple[OutsideOperator, ...]
    quantize: int
    dequantize: int

    @property
    def num_delegated(self) -> int:
        return sum(sum(counts.values()) for counts in self.delegated.values())

    def summary(self) -> OperatorsInfo:
        counts = {kind: dict(by) for kind, by in self.delegated.items()}
        for operator in self.outside:
            by = counts.setdefault(operator.type, {})
            by["float32"] = by.get("float32", 0) + 1
        is_int8 = any("int8" in by for by in self.delegated.values())
        islands = tuple(kind for kind, by in sorted(counts.items()) if set(by) - {"int8"}) if is_int8 else ()
        return OperatorsInfo(
            counts=counts,
            quantize=self.quantize,
            dequantize=self.dequantize,
            float_islands=islands,
            delegate_calls=self.num_delegate_calls,
            outside=tuple(f"{o.type} {o.name}: {o.reason}" for o in self.outside),
        )


def inspect_lowered(edge_manager: Any, reasons: dict[str, str], delegate: str = "XNNPACK") -> PteInspection:
    """Look into a program after partitioning.

    Args:
        edge_manager: What `to_edge_transform_and_lower` returned.
        reasons: Node name -> why the partitioner refused it.
        delegate: What to call the delegate.
    """
    program = edge_manager.exported_program()
    outside, calls = [], 0
    counts: dict[str, Counter[str]] = {}
    conversions: Counter[str] = Counter()
    for node in program.graph.nodes:
        name = getattr(node.target, "__name__", str(node.target))
        if node.op != "call_function" or name == "getitem":
            continue
        if name != "executorch_call_delegate":
            kind = name.removeprefix("aten.")
            reason = reasons.get(node.name, f"{delegate} has no kernel for it")
            outside.append(OutsideOperator(kind, node.name, reason))
            continue
        calls += 1
        lowered = getattr(program.graph_module, str(node.args[0].target))
        if lowered.backend_id in _COMPUTES_IN:
            _count_nodes_(lowered.original_module.graph, _COMPUTES_IN[lowered.backend_id], counts)
            continue
        _count_payload_(payload_json(delegate_body(bytes(lowered.processed_bytes))), counts, conversions)
    plain = {kind: dict(by) for kind, by in sorted(counts.items())}
    return PteInspection(calls, plain, tuple(outside), conversions["quantize"], conversions["dequantize"])


def delegate_body(blob: bytes) -> bytes:
    """Return the flatbuffer of a delegate's XNNPACK graph."""
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader

    header = XNNHeader.from_bytes(blob[: XNNHeader.EXPECTED_LENGTH])
    return blob[header.flatbuffer_offset : header.flatbuffer_offset + header.flatbuffer_size]


def payload_json(body: bytes) -> dict[str, Any]:
    """Turn a delegate's flatbuffer into JSON with the compiler that ExecuTorch ships, floats to six digits."""
    import importlib.resources

    import executorch.backends.xnnpack.serialization as serialization
    from executorch.exir._serialize._flatbuffer import _get_flatc_path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.bin")
        path.write_bytes(body)
        schema = Path(folder, "schema.fbs")
        schema.write_bytes(importlib.resources.files(serialization).joinpath("schema.fbs").read_bytes())
        command = [_get_flatc_path(), "--json", "--strict-json", "--defaults-json", "--raw-binary", "-o", folder]
        subprocess.run([*command, str(schema), "--", str(path)], check=True, capture_output=True)
        text = Path(folder, "graph.json").read_text()
        return json.loads(re.sub(r": \+?(-?)inf\b", r": \1Infinity", text))  # the limits of a ReLU


def _count_nodes_(graph: Any, precision: str, counts: dict[str, Counter[str]]) -> None:
    for node in graph.nodes:
        name = getattr(node.target, "__name__", str(node.target))
        if node.op == "call_function" and name != "getitem":
            counts.setdefault(name.removeprefix("aten."), Counter())[precision] += 1


def _count_payload_(graph: dict[str, Any], counts: dict[str, Counter[str]], conversions: Counter[str]) -> None:
    datatypes = {}
    for value in graph["xvalues"]:
        tensor = value["xvalue_union"]
        tensor = tensor.get("tensor_value", tensor)
        datatypes[tensor["id_out"]] = tensor["datatype"]
    for entry in graph["xnodes"]:
        node, kind = entry["xnode_union"], entry["xnode_union_type"].removeprefix("XNN").removeprefix("Static")
        output = PRECISIONS.get(datatypes.get(node.get("output_id"), ""), "other")
        if kind in _CONVERSIONS:
            conversions["quantize" if output == "int8" else "dequantize"] += 1
        else:
            counts.setdefault(kind, Counter())[output] += 1
