"""Code that is written on demand is the same code, and none is written that nobody reads."""

import copy
import inspect
import pickle

import pytest
import torch
from torch.fx import Graph, GraphModule

from converters.late_code import late_code


@pytest.fixture
def written(monkeypatch):
    """The graphs of which code was written, one entry a time."""
    found = []
    python_code = Graph.python_code
    monkeypatch.setattr(
        Graph, "python_code", lambda self, *rest, **named: found.append(self) or python_code(self, *rest, **named)
    )
    return found


def traced() -> GraphModule:
    graph = Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    graph.output(graph.call_function(torch.ops.aten.add.Tensor, (x, y)))
    return GraphModule(torch.nn.Module(), graph)


def subtract_(module: GraphModule) -> None:
    (call,) = (node for node in module.graph.nodes if node.op == "call_function")
    call.target = torch.ops.aten.sub.Tensor
    module.recompile()


def test_nothing_is_written_that_nobody_reads(written):
    with late_code():
        module = traced()
        for _ in range(3):
            module.recompile()
        assert not written
        assert module(torch.tensor(5), torch.tensor(3)) == 8 and len(written) == 1
        assert module(torch.tensor(5), torch.tensor(4)) == 9 and len(written) == 1


def test_a_change_is_seen_inside_and_after_the_block():
    with late_code():
        module = traced()
        assert module(torch.tensor(5), torch.tensor(3)) == 8
        subtract_(module)
        assert "aten.sub" in module.code and module(torch.tensor(5), torch.tensor(3)) == 2
        later = traced()
        subtract_(later)
    assert later(torch.tensor(5), torch.tensor(3)) == 2 and "aten.sub" in later.code
    plain = traced()
    assert later.code.replace("sub", "add") == plain.code


def test_who_looks_at_a_module_sees_what_torch_would_show():
    plain = traced()
    with late_code():
        module = traced()
        assert inspect.signature(module.forward) == inspect.signature(plain.forward)
        assert list(inspect.signature(type(traced()).forward).parameters) == ["self", "x", "y"]
        assert str(traced()) == str(plain)
        twin, loaded = copy.deepcopy(traced()), pickle.loads(pickle.dumps(traced()))
        exported = torch.export.export(traced(), (torch.ones(2), torch.ones(2)))
    assert twin(torch.tensor(5), torch.tensor(3)) == loaded(torch.tensor(5), torch.tensor(3)) == 8
    assert exported.module()(torch.ones(2), torch.ones(2)).tolist() == [2.0, 2.0]


def test_recompile_is_torchs_again_after_a_failure(written):
    with pytest.raises(ZeroDivisionError), late_code():
        raise ZeroDivisionError
    traced()
    assert len(written) == 1
