"""Decompose exported programs operator by operator; torch traces the whole program anew each time.

Lowering tools decompose the same program three to four times over, and every time nearly all of its operators come out
as they went in. Here each is looked at once. What has a decomposition is brought together in one small program, each
operator once for each form of its inputs; torch's own `ExportedProgram.run_decompositions` decomposes that program; and
what becomes of it is put in the place of every such operator. The result is what torch makes of the whole program.
"""

import contextlib
import copy
import operator
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, TensorArgument
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from converters.calls import (
    Call,
    Decompose,
    Decomposed,
    Key,
    NotLocalError,
    decompose_calls,
    evaluate,
    is_static,
    key_of,
)

_MAX_ROUNDS = 4
_INPUT_CHECKS = "_guards_fn"  # of an exported graph, a module of checks that compute nothing
# What torch hands on from an operator to those that it becomes.
_PROVENANCE = ("nn_module_stack", "torch_fn", "source_fn_stack", "quantization_tag", "custom", "stack_trace")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forms:
    """Of each node its `values`, as fake tensors; of those to decompose the `keys`; of keys `unknown` as yet a call."""

    values: dict[Node, Any]
    keys: dict[Node, Key]
    unknown: dict[Key, Call]


@contextlib.contextmanager
def local_decompositions() -> Iterator[None]:
    """Let exported programs be decomposed operator by operator while the block runs."""
    whole, export = ExportedProgram.run_decompositions, torch.export.export
    known: dict[Key, Any] = {}

    def export_again(model: nn.Module, args: tuple[Any, ...], *rest: Any, **named: Any) -> ExportedProgram:
        is_plain = not rest and not any(value for value in named.values())
        if isinstance(model, GraphModule) and is_plain:
            with contextlib.suppress(NotLocalError):
                return _exported(model, args, export, known)
        return export(model, args, *rest, **named)

    def decompose(program: ExportedProgram, decomp_table: Any = None, **options: Any) -> ExportedProgram:
        if decomp_table is not None and not options:
            with contextlib.suppress(NotLocalError):
                return _decompose(program, decomp_table, whole, known)
        return whole(program, decomp_table, **options)

    ExportedProgram.run_decompositions = decompose  # type: ignore[method-assign]
    torch.export.export = export_again  # type: ignore[assignment]
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = whole  # type: ignore[method-assign]
        torch.export.export = export


@contextlib.contextmanager
def shared_provenance() -> Iterator[None]:
    """Let nodes share the record of where they came from, which torch copies, ever longer, at every pass.

    Nobody changes these records. Copying them takes a quarter of the time of lowering.
    """
    from torch.fx.traceback import NodeSource

    NodeSource.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del NodeSource.__deepcopy__  # type: ignore[attr-defined]


def _exported(
    graph: GraphModule, args: tuple[Any, ...], export: Callable[..., ExportedProgram], known: dict[Key, Any]
) -> ExportedProgram:
    """Return what torch's `export` makes of a graph that it gave before, `known` as in `_decompose`.

    It makes its constants inputs and changes nothing else. So it is given the constants alone.
    """
    nodes = [node for node in graph.graph.nodes if node.target != _INPUT_CHECKS]
    if any(node.op not in ("placeholder", "get_attr", "call_function", "output") for node in nodes):
        raise NotLocalError
    takes = [node.meta.get("val") for node in nodes if node.op == "placeholder"]
    if [_shape(value) for value in takes] != [_shape(value) for value in args]:
        raise NotLocalError
    (output,) = (node for node in nodes if node.op == "output")
    shell = Graph()
    copies = {node: shell.node_copy(node) for node in nodes if node.op in ("placeholder", "get_attr")}
    source = next(new for node, new in copies.items() if node.op == "placeholder")
    clone = torch.ops.aten.clone.default
    shell.output(torch.fx.node.map_arg(output.args[0], lambda _: shell.call_function(clone, (source,))))
    shell._codegen = copy.deepcopy(graph.graph._codegen)
    program = export(GraphModule(graph, shell), args)
    mode = _mode_of(program)
    signature = program.graph_signature
    places = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    names = {of: place for place, of in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()}
    given = iter(signature.user_inputs)
    became: dict[Node, Any] = {}
    for node in copies:
        name = next(given) if node.op == "placeholder" else names.get(node.target)
        if name not in places:
            raise NotLocalError
        became[node] = places[name]
    inputs = {node: place.meta["val"] for node, place in became.items()}
    forms = _propagate(graph.graph, inputs, mode, known, _is_functional, {})
    return _filled(program, graph.graph, became, forms.values)


def _shape(value: Any) -> Any:
    return (value.dtype, tuple(value.shape)) if isinstance(value, Tensor) else None


def _decompose(
    program: ExportedProgram, table: Mapping[Any, Any], whole: Decompose, known: dict[Key, Any]
) -> ExportedProgram:
    """Return the program decomposed; `known` are values of operators that stay as they are, and grows."""
    mode = _mode_of(program)
    inputs = {node: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    decomposed: dict[Key, Decomposed] = {}
    alone: set[Key] = set()

    def stays(target: Any) -> bool:
        return _stays(target, table)

    for _ in range(_MAX_ROUNDS):
        forms = _propagate(program.graph, inputs, mode, known, stays, decomposed, alone)
        if not forms.unknown:
            return _spliced(program, forms, decomposed)
        found = decompose_calls(forms.unknown, mode, table, whole)
        named = {key for key, became in found.items() if became.has_names and not isinstance(key[-1], Node)}
        alone |= named
        decomposed |= {key: became for key, became in found.items() if key not in named}
    raise NotLocalError  # forms of values that change with every round


def _mode_of(program: ExportedProgram) -> Any:
    """Return the mode of a program's fake tensors, whose operators may be looked at one by one."""
    is_plain = all(spec.kind == OutputKind.USER_OUTPUT for spec in program.graph_signature.output_specs)
    is_flat = all(entry.signature is None for entry in program.module_call_graph if entry.fqn)
    nodes = list(program.graph.nodes)
    inputs = [node.meta.get("val") for node in nodes if node.op == "placeholder"]
    if not (is_plain and is_flat and inputs and all(is_static(value) for value in inputs)):
        raise NotLocalError
    if any(node.op not in ("placeholder", "call_function", "output") for node in nodes):
        raise NotLocalError
    return inputs[0].fake_mode


def _propagate(
    graph: Graph,
    inputs: Mapping[Node, Any],
    mode: Any,
    known: dict[Key, Any],
    stays: Callable[[Any], bool],
    decomposed: Mapping[Key, Decomposed],
    alone: Set[Key] = frozenset(),
) -> _Forms:
    """Find the form of every value, and what is to be decomposed: the operators that do not stay as they are.

    Args:
        alone: Keys of calls that may decompose into something else at every call.
    """
    forms = _Forms(values=dict(inputs), keys={}, unknown={})
    values = forms.values
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is operator.getitem:
            values[node] = values[node.args[0]][node.args[1]]
            continue
        given, spec = pytree.tree_flatten((node.args, node.kwargs))
        leaves = tuple(values[x] if isinstance(x, Node) else x for x in given)
        call = Call(target=node.target, leaves=leaves, spec=spec)
        key = key_of(call)
        if key in alone:
            key = (*key, node)
        if stays(node.target):
            if key not in known:
                known[key] = evaluate(call, mode)
            values[node] = known[key]
            continue
        forms.keys[node] = key
        if key in decomposed:
            values[node] = decomposed[key].value
        else:
            values[node] = evaluate(call, mode)
            forms.unknown[key] = replace(call, value=values[node])
    return forms


def _stays(target: Any, table: Mapping[Any, Any]) -> bool:
    """Tell whether an operator has no decomposition, neither in the table nor one of torch's own."""
    if not isinstance(target, torch._ops.OperatorBase):
        return False  # a function, whose operators are wanted
    _is_functional(target)
    own = torch._C.DispatchKey.CompositeImplicitAutograd
    return target not in table and not target.has_kernel_for_dispatch_key(own)


def _is_functional(target: Any) -> bool:
    """Return True for an operator that changes nothing.

    Raises:
        NotLocalError: For any other.
    """
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
        raise NotLocalError
    return True


def _spliced(program: ExportedProgram, forms: _Forms, decomposed: Mapping[Key, Decomposed]) -> ExportedProgram:
    """Return the program with what its operators became in their places."""
    graph = Graph()
    became: dict[Node, Any] = {}
    for node in program.graph.nodes:
        if node in forms.keys:
            became[node] = _insert(graph, node, became, decomposed[forms.keys[node]])
        elif node.target is operator.getitem and isinstance(became[node.args[0]], tuple):
            became[node] = became[node.args[0]][node.args[1]]
        elif node.op == "call_function":
            became[node] = _copied(graph, node, node, became, forms.values[node])
        else:
            became[node] = _same_name(graph.node_copy(node, became.__getitem__), node)
    graph.eliminate_dead_code()
    return _with_graph(program, graph, became)


def _insert(graph: Graph, node: Node, became: Mapping[Node, Any], decomposed: Decomposed) -> Any:
    sources = [became[x] for x in pytree.tree_leaves((node.args, node.kwargs)) if isinstance(x, Node)]
    own = dict(zip(decomposed.inputs, sources, strict=True))
    for part in decomposed.nodes:
        own[part] = _copied(graph, part, node, own, part.meta["val"])
    outputs = tuple(own[output] for output in decomposed.outputs)
    return outputs if isinstance(decomposed.value, tuple) else outputs[0]


def _copied(graph: Graph, part: Node, origin: Node, became: Mapping[Node, Any], value: Any) -> Node:
    """Add to `graph` what `part` computes, as something that `origin` became."""
    from torch.fx.passes.shape_prop import _extract_tensor_metadata
    from torch.fx.traceback import NodeSource, NodeSourceAction

    arguments, named = torch.fx.node.map_arg((part.args, part.kwargs), became.__getitem__)
    name = getattr(getattr(part.target, "overloadpacket", part.target), "__name__", None)
    node = graph.create_node("call_function", part.target, arguments, named, name)
    stack = {"nn_module_stack": part.meta["nn_module_stack"]} if "nn_module_stack" in part.meta else {}
    node.meta = stack | {key: origin.meta[key] for key in _PROVENANCE if key in origin.meta}
    node.meta["from_node"] = [NodeSource(origin, "decompose", NodeSourceAction.CREATE)]
    node.meta["val"] = value
    is_one = isinstance(value, Tensor)
    node.meta["tensor_meta"] = (
        _extract_tensor_metadata(value) if is_one else tuple(map(_extract_tensor_metadata, value))
    )
    return node


def _same_name(copied: Node, node: Node) -> Node:
    """Call a copy as its original, which the signature names; a graph renames what Python has a word for: input."""
    if copied.op == "placeholder":
        copied.name = copied.target = node.name
    return copied


def _filled(
    program: ExportedProgram, calls: Graph, places: Mapping[Node, Node], values: Mapping[Node, Any]
) -> ExportedProgram:
    """Return the program with the operators of `calls` in the place of its own; `places` are its inputs there."""
    graph = Graph()
    takes = [node for node in program.graph.nodes if node.op == "placeholder"]
    moved = {node: _same_name(graph.node_copy(node), node) for node in takes}
    became = {node: moved[place] for node, place in places.items()}
    stack = next(node.meta["nn_module_stack"] for node in program.graph.nodes if node.op == "call_function")
    for node in calls.nodes:
        if node.op == "call_function" and node not in became:
            parts = [user for user in node.users if user.target is operator.getitem]  # they follow at once, in order
            for new in (node, *sorted(parts, key=lambda part: part.args[1])):
                became[new] = _copied(graph, new, new, became, values[new])
                became[new].meta.setdefault("nn_module_stack", dict(stack))
        elif node.op == "output":
            outputs = torch.fx.node.map_arg(node.args[0], became.__getitem__)
            graph.output(tuple(pytree.tree_leaves(outputs)))
    return _with_graph(program, graph, {}, program.verifiers)


def _with_graph(
    program: ExportedProgram, graph: Graph, became: Mapping[Node, Any], verifiers: Any = None
) -> ExportedProgram:
    """Return the program with another graph, in which `became` says what its nodes are."""
    old = program.graph_signature
    names = {node.name: new.name for node, new in became.items() if isinstance(new, Node)}
    (output,) = (node for node in graph.nodes if node.op == "output")
    outputs = [
        replace(spec, arg=TensorArgument(name=node.name)) if isinstance(node, Node) else spec
        for spec, node in zip(old.output_specs, output.args[0], strict=True)
    ]
    signature = replace(old, input_specs=list(old.input_specs), output_specs=outputs)
    calls = copy.deepcopy(program.module_call_graph)
    for argument in (a for entry in calls if entry.signature is not None for a in entry.signature.outputs):
        argument.name = names.get(argument.name, argument.name)
    return ExportedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=signature,
        state_dict=program.state_dict,
        range_constraints=copy.copy(program.range_constraints),
        module_call_graph=calls,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=verifiers,
    )
