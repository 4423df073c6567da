"""The graph of a .pte file: what its XNNPACK delegates hold, and what runs between them."""

import struct
import subprocess
from pathlib import Path
from typing import Any

from converters.executorch.grids import read_file
from converters.executorch.inspect import PRECISIONS, delegate_body, payload_json
from converters.network import NetworkOperator, gemm_multiply_adds, matmul_multiply_adds

_NONE = 0xFFFFFFFF
_INPUTS = {"FLOAT": "float32", "CHAR": "int8", "BYTE": "uint8"}
_GEMMS = ("Conv2d", "DepthwiseConv2d", "FullyConnected")


def read(path: Path) -> list[NetworkOperator]:
    """Return a file's operators in the order in which it runs them.

    Raises:
        ValueError: If the file is damaged.
        ImportError: If ExecuTorch is not installed.
    """
    try:
        return _read(read_file(path))
    except (LookupError, struct.error, subprocess.CalledProcessError) as e:
        raise ValueError(f"{path}: damaged .pte file ({e})") from e


def own_kernels(path: Path) -> list[str]:
    """Return what ExecuTorch runs itself, outside of delegates, in its order; raises as `read`."""
    plan = _plan(path)
    found = [i.instr_args for chain in plan.chains for i in chain.instructions]
    names = [plan.operators[a.op_index].name if hasattr(a, "op_index") else type(a).__name__ for a in found]
    return [name.removeprefix("aten::") for name in names if name != "DelegateCall"]


def input_type(path: Path) -> tuple[str, tuple[int, ...]]:
    """Return type and shape of the one input.

    Raises:
        ValueError: If the file is damaged, or takes several inputs, or another type than float32, int8 and uint8.
        ImportError: If ExecuTorch is not installed.
    """
    plan = _plan(path)
    if len(plan.inputs) != 1:
        raise ValueError(f"{path}: has {len(plan.inputs)} inputs; one is expected")
    value = plan.values[plan.inputs[0]].val
    dtype = _INPUTS.get(value.scalar_type.name)
    if dtype is None:
        raise ValueError(f"{path}: takes {value.scalar_type.name}; expected is one of {', '.join(_INPUTS)}")
    return dtype, tuple(value.sizes)


def _plan(path: Path) -> Any:
    plans = read_file(path).program.execution_plan
    if not plans:
        raise ValueError(f"{path}: damaged .pte file (it holds no method)")
    return plans[0]


def _read(file: Any) -> list[NetworkOperator]:
    plan = file.program.execution_plan[0]
    found: list[NetworkOperator] = []
    made_by: dict[int, int] = {}  # a value of the program -> the operator that gives it
    for arguments in (i.instr_args for chain in plan.chains for i in chain.instructions):
        kind = type(arguments).__name__
        if kind == "DelegateCall":
            entry = plan.delegates[arguments.delegate_index].processed
            graph = payload_json(delegate_body(bytes(file.program.backend_delegate_data[entry.index].data)))
            _Delegate(graph).add_(found, made_by, arguments.args)
        elif kind == "KernelCall":
            found.append(_outside(plan, arguments, made_by))
            made_by[arguments.args[-1]] = len(found) - 1
    return found


def _outside(plan: Any, call: Any, made_by: dict[int, int]) -> NetworkOperator:
    """Describe an operator of ExecuTorch's own kernels, whose last argument is its result."""
    return NetworkOperator(
        kind=plan.operators[call.op_index].name.removeprefix("aten::"),
        name="",
        precision="float32",
        sources=tuple(dict.fromkeys(made_by[a] for a in call.args[:-1] if a in made_by)),
        shape=tuple(getattr(plan.values[call.args[-1]].val, "sizes", ())),
        multiply_adds=0,
        constant_bytes=0,
    )


class _Delegate:
    """One XNNPACK graph, as JSON."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self._graph = graph
        self._values: dict[int, dict[str, Any]] = {}
        for value in graph["xvalues"]:
            union = value["xvalue_union"]
            self._values[union.get("tensor_value", union)["id_out"]] = union.get("tensor_value", union) | union
        self._seen: set[int] = set()

    def add_(self, found: list[NetworkOperator], made_by: dict[int, int], arguments: list[int]) -> None:
        """Append the operators, and note who gives the program's values; `arguments` are those values."""
        outer = {n: arguments[v["external_id"]] for n, v in self._values.items() if v["external_id"] < len(arguments)}
        own = {number: made_by[value] for number, value in outer.items() if value in made_by}
        unpacked: dict[int, int] = {}
        for entry in self._graph["xnodes"]:
            kind, node = entry["xnode_union_type"].removeprefix("XNN"), entry["xnode_union"]
            numbers = {k: n for k, n in node.items() if k.endswith("_id") and n != _NONE}
            given = [n for k, n in numbers.items() if k.startswith("output")]
            wanted = [unpacked.get(n, n) for k, n in numbers.items() if not k.startswith("output")]
            if all(self._values[n]["constant_buffer_idx"] for n in wanted):  # unpacks a constant
                unpacked |= dict.fromkeys(given, wanted[0])
                continue
            found.append(
                NetworkOperator(
                    kind=kind.removeprefix("Static"),
                    name="",
                    precision="boundary" if kind == "Convert" else self._precision(given[0]),
                    sources=tuple(dict.fromkeys(own[n] for n in wanted if n in own)),
                    shape=self._shape(given[0]),
                    multiply_adds=self._multiply_adds(kind, node, given[0]),
                    constant_bytes=sum(self._stored_bytes(n) for n in wanted),
                )
            )
            own |= dict.fromkeys(given, len(found) - 1)
        made_by |= {value: own[number] for number, value in outer.items() if number in own}

    def _precision(self, value: int) -> str:
        return PRECISIONS.get(self._values[value]["datatype"], "other")

    def _shape(self, value: int) -> tuple[int, ...]:
        return tuple(self._values[value]["dims"])

    def _multiply_adds(self, kind: str, node: dict[str, Any], given: int) -> int:
        if kind in _GEMMS:
            return gemm_multiply_adds(self._shape(node["filter_id"]), self._shape(given))
        if kind == "BatchMatrixMultiply":
            return matmul_multiply_adds(self._shape(node["input1_id"]), self._shape(given))
        return 0

    def _stored_bytes(self, value: int) -> int:
        """Count the bytes of a constant, and of its scales, that were not counted before."""
        tensor = self._values[value]
        places = {tensor["constant_buffer_idx"], tensor.get("quant_params", {}).get("scale_buffer_idx", 0)} - {0}
        new, self._seen = places - self._seen, self._seen | places
        return sum(self._graph["constant_data"][place]["size"] for place in new)
