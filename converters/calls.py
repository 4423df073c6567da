"""Operators of exported programs one by one: what each gives, when two are the same, and what each decomposes into."""

import itertools
import operator
import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

Decompose = Callable[..., ExportedProgram]
Key = tuple[Any, ...]
_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch._ops.OpOverload)


class NotLocalError(Exception):
    """This program has something that operators share: torch must trace all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An operator, or a function, with what it is called with and the `value` that it gives; tensors are fake ones."""

    target: Any
    leaves: tuple[Any, ...]
    spec: pytree.TreeSpec
    value: Any = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Tensor))

    def with_tensors(self, tensors: Iterable[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments and keyword arguments, with `tensors` in the place of its own."""
        each = iter(tensors)
        return pytree.tree_unflatten([next(each) if isinstance(x, Tensor) else x for x in self.leaves], self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposed:
    """What an operator became: nodes of another graph, which read `inputs`; a `value` of several tensors is a tuple."""

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    value: Any

    @property
    def has_names(self) -> bool:
        """Tell whether a text is among its arguments: it may be one that a function makes up anew at every call."""
        leaves = (leaf for node in self.nodes for leaf in pytree.tree_leaves((node.args, node.kwargs)))
        return any(isinstance(leaf, str) for leaf in leaves)


def key_of(call: Call) -> Key:
    """Return what is equal for calls that decompose into the same operators."""
    return (_target_key(call.target), call.spec, *(_leaf_key(leaf) for leaf in call.leaves))


def _target_key(target: Any) -> Any:
    """Return an operator, or of a function its code with what it carries; lowering tools make many of one code."""
    if not isinstance(target, types.FunctionType):
        return target
    try:
        carried = [cell.cell_contents for cell in target.__closure__ or ()]
    except ValueError:  # a cell that is not filled yet
        return target
    carried += [*(target.__defaults__ or ()), *(target.__kwdefaults__ or {}).items()]
    return (target.__code__, *map(_carried_key, carried))


def _carried_key(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return (type(value), *map(_carried_key, value))
    if isinstance(value, types.FunctionType):
        return _target_key(value)
    return (type(value), repr(value)) if isinstance(value, _PLAIN) else id(value)


def _leaf_key(leaf: Any) -> Any:
    if isinstance(leaf, tuple) or (isinstance(leaf, Tensor) and not is_static(leaf)):
        raise NotLocalError
    if not isinstance(leaf, Tensor):
        return (type(leaf), repr(leaf))
    return _form(leaf)


def _form(tensor: Any) -> Key:
    return (id(tensor.fake_mode), tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.storage_offset())


def is_static(value: Any) -> bool:
    """Tell whether a value is a fake tensor of sizes that are known."""
    return isinstance(value, torch._subclasses.FakeTensor) and all(type(size) is int for size in value.shape)


def evaluate(call: Call, mode: Any) -> Any:
    """Return what a call gives: a fake tensor, or a tuple of them.

    Raises:
        NotLocalError: If it gives anything else.
    """
    with mode, torch.no_grad():
        arguments, named = call.with_tensors(x.detach() for x in call.tensors)
        value = call.target(*arguments, **named)
    value = tuple(value) if isinstance(value, list) else value
    if not all(isinstance(part, Tensor) for part in (value if isinstance(value, tuple) else (value,))):
        raise NotLocalError
    return value


def decompose_calls(
    calls: Mapping[Key, Call], mode: Any, table: Mapping[Any, Any], whole: Decompose
) -> dict[Key, Decomposed]:
    """Decompose each call alone, all of them in one program, which `whole` decomposes.

    Args:
        mode: The mode of the fake tensors.
        table: Operator to what it is decomposed with, as ExportedProgram.run_decompositions takes it.

    Raises:
        NotLocalError: If a function makes a constant, which would belong to the program.
    """
    graph, arguments, inputs_of = _inputs_of(list(calls.values()), mode)
    outputs_of = [_outputs_of(graph, call, inputs) for call, inputs in zip(calls.values(), inputs_of, strict=True)]
    result = whole(_as_program(graph, list(itertools.chain(*outputs_of)), arguments), table)
    inputs = [node for node in result.graph.nodes if node.op == "placeholder"]
    if len(inputs) != len(arguments):
        raise NotLocalError
    became = dict(zip((node for node in graph.nodes if node.op == "placeholder"), inputs, strict=True))
    (output,) = (node for node in result.graph.nodes if node.op == "output")
    order = {node: number for number, node in enumerate(result.graph.nodes)}
    given = iter(output.args[0])
    found: dict[Key, Decomposed] = {}
    for (key, call), sources, wanted in zip(calls.items(), inputs_of, outputs_of, strict=True):
        outputs = tuple(next(given) for _ in wanted)
        values = tuple(node.meta["val"] for node in outputs)
        found[key] = Decomposed(
            nodes=tuple(sorted(_ancestors(outputs), key=order.__getitem__)),
            inputs=tuple(became[source] for source in sources),
            outputs=outputs,
            value=values if isinstance(call.value, tuple) else values[0],
        )
    return found


def _inputs_of(calls: list[Call], mode: Any) -> tuple[Graph, tuple[Tensor, ...], list[list[Node]]]:
    """Return a graph of inputs alone, their values, and which each call reads; calls share inputs of one form."""
    graph = Graph()
    places: dict[Any, Node] = {}
    inputs_of: list[list[Node]] = []
    for call in calls:
        seen: Counter[Key] = Counter()
        inputs_of.append([])
        for tensor in call.tensors:
            form = _form(tensor)
            place = (form, seen[form])
            seen[form] += 1
            if place not in places:
                places[place] = graph.placeholder(f"x_{len(places)}")
                with mode, torch.no_grad():
                    places[place].meta["val"] = tensor.detach()
            inputs_of[-1].append(places[place])
    return graph, tuple(node.meta["val"] for node in places.values()), inputs_of


def _outputs_of(graph: Graph, call: Call, inputs: list[Node]) -> list[Node]:
    """Add a call to a graph and return what it gives, one node a tensor."""
    positional, named = call.with_tensors(inputs)
    node = graph.call_function(call.target, positional, named)
    node.meta["val"] = call.value
    if isinstance(call.value, Tensor):
        return [node]
    parts = [graph.call_function(operator.getitem, (node, number)) for number in range(len(call.value))]
    for part, value in zip(parts, call.value, strict=True):
        part.meta["val"] = value
    return parts


def _as_program(graph: Graph, outputs: list[Node], arguments: tuple[Tensor, ...]) -> ExportedProgram:
    """Return a graph of calls as a program; functions, which no program may hold, are put in afterwards."""
    graph.output(tuple(outputs))
    functions = {
        n: n.target for n in graph.nodes if n.op == "call_function" and not isinstance(n.target, torch._ops.OpOverload)
    }
    for node in functions:
        node.target = torch.ops.aten.alias.default
    names = [node.name for node in graph.nodes if node.op == "placeholder"]
    signature = ExportGraphSignature(
        input_specs=[InputSpec(InputKind.USER_INPUT, TensorArgument(name=name), None) for name in names],
        output_specs=[OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(name=n.name), None) for n in outputs],
    )
    _, in_spec = pytree.tree_flatten((arguments, {}))
    _, out_spec = pytree.tree_flatten(tuple(outputs))
    whole = ModuleCallSignature(inputs=[], outputs=[], in_spec=in_spec, out_spec=out_spec)
    program = ExportedProgram(
        root=torch.nn.Module(),
        graph=graph,
        graph_signature=signature,
        state_dict={},
        range_constraints={},
        module_call_graph=[ModuleCallEntry(fqn="", signature=whole)],
        example_inputs=(arguments, {}),
    )
    for node in program.graph.nodes:
        node.target = functions.get(node, node.target)
    program.graph_module.recompile()
    return program


def _ancestors(outputs: tuple[Node, ...]) -> set[Node]:
    """Return the nodes that outputs are computed from, with these, without inputs."""
    found: set[Node] = set()
    left = [node for node in outputs if node.op != "placeholder"]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += [source for source in node.all_input_nodes if source.op != "placeholder"]
    return found
