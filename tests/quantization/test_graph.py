"""The exported graph: same function after its rewrites, same names whatever the batch size."""

import pytest
import torch
from torch import nn

from edge_vit.models import create_model
from edge_vit.quantization.graph import ATEN, expand_hardswish_, export_graph, plain_graph, value_names


def targets(graph_module):
    return [node.target for node in graph_module.graph.nodes if node.op == "call_function"]


def test_hardswish_becomes_int8_operators_with_the_same_function(graph, pixel_model, batches):
    assert ATEN.hardswish.default not in targets(graph)
    assert targets(graph).count(ATEN.hardtanh.default) == 25
    with torch.no_grad():
        for batch in batches[:4]:
            expected = pixel_model(batch)
            assert (graph(batch) - expected).abs().max() < 2e-6 * expected.abs().max()


def test_the_model_keeps_its_weights(pixel_model, batches):
    """Folding 1/6 into the graph's weights must not reach the model that the graph came from."""
    before = pixel_model.state_dict()["model.head.weight"].clone(), pixel_model(batches[0]).detach()
    export_graph(pixel_model, batches[0])
    assert torch.equal(pixel_model.state_dict()["model.head.weight"], before[0])
    assert torch.equal(pixel_model(batches[0]).detach(), before[1])


class _SharedHardswish(nn.Module):
    """Its Hardswish is read by a linear layer and by an addition: 1/6 cannot be folded."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        y = nn.functional.hardswish(x)
        return self.linear(y) + y


def test_hardswish_that_cannot_be_folded_stays():
    model, x = _SharedHardswish().eval(), torch.randn(1, 4)
    graph = export_graph(model, x)
    assert ATEN.hardswish.default in targets(graph) and expand_hardswish_(graph) == 0
    assert torch.equal(graph(x), model(x))


def test_in_a_network_of_the_users_own_it_is_written_out_and_the_sixth_comes_first():
    """Behind the product, LiteRT's converter would join all of it to a HARD_SWISH, which has no fast int8 kernel."""
    model, x = _SharedHardswish().eval(), torch.randn(1, 4)
    graph = plain_graph(model, x)
    assert expand_hardswish_(graph, all_of_them=True) == 1
    torch.testing.assert_close(graph(x), model(x))
    (clip,) = [node for node in graph.graph.nodes if node.target == ATEN.hardtanh.default]
    (product,) = clip.users
    assert not any(user.target == ATEN.mul.Tensor for user in product.users)


class _Tied(nn.Module):
    """One weight under two names, read behind a Hardswish and elsewhere: 1/6 belongs to one of them alone."""

    def __init__(self, where):
        super().__init__()
        self.first, self.second, self.where = nn.Linear(4, 4), nn.Linear(4, 4), where
        self.second.weight = self.first.weight

    def forward(self, x):
        hard = nn.functional.hardswish(x)
        if self.where == "behind one Hardswish":
            return self.first(hard) + self.second(hard)
        if self.where == "behind two":
            return self.first(hard) + self.second(nn.functional.hardswish(self.second(x) + 1))
        return self.first(hard) + self.second(x)


class _Views(nn.Module):
    """Two weights that are views of the same memory; the first is read behind a Hardswish."""

    def __init__(self):
        super().__init__()
        memory = torch.randn(6, 4)
        self.first, self.second = nn.Parameter(memory[:4]), nn.Parameter(memory[2:])

    def forward(self, x):
        return nn.functional.linear(nn.functional.hardswish(x), self.first) + nn.functional.linear(x, self.second)


def test_weights_in_shared_memory_are_changed_one_by_one():
    torch.manual_seed(0)
    model, x = _Views().eval(), torch.randn(3, 4)
    graph = export_graph(model, x)
    assert ATEN.hardswish.default not in targets(graph)
    assert torch.allclose(graph(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("where", ["behind one Hardswish", "behind two", "elsewhere too"])
def test_a_shared_weight_is_not_changed(where):
    torch.manual_seed(0)
    model, x = _Tied(where).eval(), torch.randn(3, 4)
    graph = export_graph(model, x)
    assert ATEN.hardswish.default in targets(graph)
    assert torch.allclose(graph(x), model(x), rtol=1e-6, atol=1e-6)


def test_names_do_not_depend_on_the_batch(graph, pixel_model):
    many = export_graph(pixel_model, torch.zeros(2, 64, 64, 3), dynamic_batch=True)
    one, other = set(value_names(graph).values()), set(value_names(many).values())
    wanted = {name for name in one if not any(kind in name for kind in ("view", "reshape", "sym_size", "repeat"))}
    assert wanted <= other and len(wanted) > 200
    assert "model.stages.0.blocks.0.attn.k.linear.0" in wanted
    x = torch.rand(3, 64, 64, 3) * 255
    with torch.no_grad():
        assert (many(x)[:1] - graph(x[:1])).abs().max() < 1e-5


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode; call eval"):
        export_graph(create_model("levit_128s", 10, 64).train(), torch.zeros(1, 3, 64, 64))
