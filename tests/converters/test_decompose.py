"""Programs decomposed operator by operator are those that torch makes when it traces them whole."""

import copy
import operator

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from converters.decompose import local_decompositions, shared_provenance

CORE = torch.export.default_decompositions


def described(program: ExportedProgram) -> list[tuple]:
    """Return every node: what it computes from which, the form of its value, and the module that it came from."""
    numbers = {node: number for number, node in enumerate(program.graph.nodes)}
    lines = []
    for node in program.graph.nodes:
        arguments = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: f"%{numbers[source]}")
        value = node.meta.get("val")
        form = (value.dtype, tuple(value.shape), value.stride()) if isinstance(value, Tensor) else None
        stack = list(node.meta["nn_module_stack"].values()) if node.op == "call_function" else None
        lines.append((node.op, str(node.target), str(arguments), form, stack))
    return lines


def compare(model: nn.Module, example: tuple[Tensor, ...], table) -> tuple[ExportedProgram, ExportedProgram]:
    """Assert that both ways give one program, which computes what the model does."""
    whole = torch.export.export(model, example)
    with local_decompositions(), shared_provenance():
        ours = torch.export.export(model, example)
        assert described(ours) == described(whole)
        ours = ours.run_decompositions(table)
    whole = whole.run_decompositions(table)
    assert described(ours) == described(whole)
    assert [spec.kind for spec in ours.graph_signature.input_specs] == [
        spec.kind for spec in whole.graph_signature.input_specs
    ]
    assert ours.graph_signature.user_outputs == tuple(
        node.name for node in next(n for n in ours.graph.nodes if n.op == "output").args[0]
    )
    torch.testing.assert_close(ours.module()(*example), whole.module()(*example), rtol=0, atol=0)
    return ours, whole


@pytest.fixture
def traced(monkeypatch) -> list[ExportedProgram]:
    """Return a list that every program is added to which torch traces to decompose it."""
    programs: list[ExportedProgram] = []
    decompose = ExportedProgram.run_decompositions

    def note(self, *arguments, **named):
        programs.append(self)
        return decompose(self, *arguments, **named)

    monkeypatch.setattr(ExportedProgram, "run_decompositions", note)
    return programs


@pytest.mark.parametrize("table", [CORE, dict], ids=["core", "none"])
def test_a_float_model(small_model: nn.Module, small_example, table) -> None:
    compare(small_model, small_example, table())


@pytest.mark.parametrize("table", [CORE, dict], ids=["core", "none"])
def test_an_int8_graph(small_qdq: GraphModule, small_example, table) -> None:
    compare(small_qdq, small_example, table())


def test_equal_operators_are_decomposed_once_and_integers_not_at_all(small_qdq, small_example, traced) -> None:
    with local_decompositions():
        program = torch.export.export(small_qdq, small_example)
        program.run_decompositions(CORE())
    assert traced and not any(part.graph_signature.parameters for part in traced)
    targets = [str(node.target) for part in traced for node in part.graph.nodes]
    assert not any("quantize_per" in target for target in targets)
    assert targets.count("aten.linear.default") == 2, "16 to 16 features four times, 16 to 5 once"


class _Named(nn.Module):
    """Its inputs are called as functions of Python are, which a graph would rename."""

    def forward(self, input: Tensor, max: Tensor) -> Tensor:
        return nn.functional.linear(input, max).relu()


def test_inputs_of_any_name() -> None:
    ours, whole = compare(_Named().eval(), (torch.randn(2, 4), torch.randn(3, 4)), CORE())
    assert ours.graph_signature.user_inputs == whole.graph_signature.user_inputs == ("input", "max")


class _Several(nn.Module):
    """Operators that give several tensors, none of which a decomposition may lose."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first, second, _ = x.split([2, 3, 1], 1)
        norm = nn.functional.layer_norm(first, (4,))
        return norm, second.t().contiguous().view(-1) if second.dim() == 2 else second.flatten(), x.topk(2).values


def test_operators_of_several_outputs() -> None:
    ours, _ = compare(_Several().eval(), (torch.randn(1, 6, 4),), CORE())
    assert any(node.target is operator.getitem for node in ours.graph.nodes)


class _Counting(nn.Module):
    """It changes a buffer, which an operator alone does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)
        return x * self.count


class _InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 1).mul_(2)


def test_what_changes_tensors_in_place_is_traced_whole(traced) -> None:
    for model in (_Counting().eval(), _InPlace().eval()):
        traced.clear()
        with local_decompositions():
            program = torch.export.export(copy.deepcopy(model), (torch.ones(2),)).run_decompositions(CORE())
        assert len(traced) == 1 and traced[0] is not program
        torch.testing.assert_close(program.module()(torch.ones(2)), model(torch.ones(2)))


def test_any_batch_is_traced_whole(traced) -> None:
    shapes = ({0: torch.export.Dim("batch", min=2)},)
    with local_decompositions():
        program = torch.export.export(nn.Linear(3, 2).eval(), (torch.ones(4, 3),), dynamic_shapes=shapes)
        program = program.run_decompositions(CORE())
    assert len(traced) == 1
    assert program.module()(torch.ones(7, 3)).shape == (7, 2)


@pytest.mark.needs_tflite
def test_litert_torch_decomposes_operator_by_operator(small_qdq, small_example, tmp_path, traced) -> None:
    """A release of litert-torch or torch that goes another way would make conversions slow and say nothing."""
    from converters.tflite.lower import TFLiteOptions, convert

    convert(small_qdq, small_example, tmp_path / "small.tflite", options=TFLiteOptions())
    assert traced and not any(program.graph_signature.parameters for program in traced)


def test_torch_is_as_it_was_afterwards() -> None:
    export, decompose = torch.export.export, ExportedProgram.run_decompositions
    with pytest.raises(ZeroDivisionError), local_decompositions(), shared_provenance():
        assert torch.export.export is not export and ExportedProgram.run_decompositions is not decompose
        raise ZeroDivisionError
    assert torch.export.export is export and ExportedProgram.run_decompositions is decompose
