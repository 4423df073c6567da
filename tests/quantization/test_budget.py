"""Operators in float where int8 loses too much: what is offered, what is granted, and what it costs."""

import numpy as np
import pytest
import torch

from calibration.preprocess import Preprocess
from edge_vit.quantization.budget import Concession, rank, search
from edge_vit.quantization.costs import estimate
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.pipeline import FloatModel, build_quantized, leave_float, prepare_int8
from edge_vit.quantization.plan import QParams, make_plan, ranges_of
from edge_vit.quantization.simulate import Simulation

CULPRIT = "model.stages.1.blocks.1.add.1"


@pytest.fixture
def float_model(pixel_model):
    return FloatModel(
        module=pixel_model, preprocess=Preprocess(resolution=64), classes=[], weights="of a test", notes=()
    )


@pytest.fixture
def made(float_model, batches):
    return prepare_int8(float_model, batches)


@pytest.fixture
def single(graph):
    return graph, make_plan(graph)


def logits(made, batch):
    simulation = Simulation(made)
    return simulation.logits(simulation.run(batch, [layer.name for layer in simulation.layers]))


def test_every_operator_in_float_is_the_float_network(made, pixel_model, batches):
    operators = [made.plan.names[node] for node in made.plan.int8_nodes]
    left = leave_float(made, operators)
    assert not left.plan.int8_nodes and not left.plan.groups
    with torch.no_grad():
        torch.testing.assert_close(logits(left, batches[0]), pixel_model(batches[0]), rtol=1e-4, atol=1e-4)


def test_a_simulated_mixed_network_is_the_one_that_is_converted(made, float_model, batches):
    operators = (CULPRIT, "model.stages.0.blocks.0.attn.q.linear.0", "model.stages.2.blocks.0.attn.bmm.1")
    expected = logits(leave_float(made, operators), batches[0])
    built = build_quantized(float_model, batches, keep_float=operators)
    with torch.no_grad():
        assert torch.equal(built.graph(batches[0]), expected)
    assert built.summary["kept_float"] == sorted(operators)
    assert not torch.equal(expected, logits(made, batches[0]))


def test_an_operator_that_is_not_there_is_refused(made):
    with pytest.raises(ValueError, match="nonsense: no int8 operator of this network"):
        leave_float(made, ["nonsense"])


def test_values_that_only_a_join_brought_together_keep_their_range():
    """Leave the first of two in float, and what joins them: the second still has the range that was named after it."""

    class Joined(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(3, 4, 1)
            self.after = torch.nn.Conv2d(8, 2, 1)

        def forward(self, x):
            x = x.permute(0, 3, 1, 2)
            return self.after(torch.cat([self.left(x), self.right(x)], 1))

    torch.manual_seed(0)
    graph = export_graph(Joined().eval(), torch.zeros(1, 4, 4, 3))
    whole = make_plan(graph)
    joined = next(group.name for group in whole.groups.values() if len(group.entries) == 2)
    ranges = {name: QParams(scale=0.1 * (i + 1), zero_point=0) for i, name in enumerate(whole.groups)}
    plan = make_plan(graph, keep_float=["left.conv2d.0", "cat.0", "after.conv2d.0"])
    assert joined == "left.conv2d.0" and joined not in plan.groups
    assert ranges_of(plan, whole, ranges)["right.conv2d.0"] == ranges[joined]


def test_the_planted_fault_is_offered_first(made, single, pictures):
    grid = made.ranges[CULPRIT]
    made.ranges[CULPRIT] = QParams(scale=grid.scale / 8, zero_point=grid.zero_point)
    offers = rank(made, single, [pictures[:1]])
    assert offers[0].layer == CULPRIT and offers[0].kind == "value" and offers[0].noise_share > 0.5
    assert CULPRIT in offers[0].operators and len(offers[0].operators) > 1
    assert 0.0 < offers[0].instructions < estimate(*single)
    clean = made.ranges | {CULPRIT: grid}
    made.ranges.update(clean)
    before = logits(made, torch.from_numpy(pictures[2:3]).float())
    made.ranges[CULPRIT] = QParams(scale=grid.scale / 8, zero_point=grid.zero_point)
    mended = logits(leave_float(made, offers[0].operators), torch.from_numpy(pictures[2:3]).float())
    spoilt = logits(made, torch.from_numpy(pictures[2:3]).float())
    assert float((mended - before).square().sum()) < 0.1 * float((spoilt - before).square().sum())


def offered(*costs):
    """Concessions of one operator each, of a network of as many."""
    return [
        Concession(layer=f"l{i}", kind="weights", operators=(f"l{i}",), noise_share=0.1, instructions=cost)
        for i, cost in enumerate(costs)
    ]


@pytest.fixture
def searched(monkeypatch):
    """Return search(needed): as if a drop of 5 points shrank to 0 once the layers `needed` are in float."""

    def searched(needed, count=20, max_drop=0.5):
        monkeypatch.setattr("edge_vit.quantization.budget.leave_float", lambda made, operators: operators)
        monkeypatch.setattr("edge_vit.quantization.budget.make_plan", lambda graph, keep_float: keep_float)
        monkeypatch.setattr("edge_vit.quantization.budget.estimate", lambda graph, kept: 100.0 + 10.0 * len(kept))
        return search(
            frozenset(), (None, None), lambda: offered(*range(count)),
            lambda kept: 0.0 if needed and needed <= kept else 5.0, max_drop,
        )  # fmt: skip

    return searched


def test_as_few_as_suffice_are_granted(searched):
    found = searched({"l0", "l11"})
    assert found.operators == tuple(sorted(f"l{i}" for i in range(12)))
    assert [step.granted for step in found.steps] == [0, 1, 2, 4, 8, 16, 12, 10, 11]
    assert found.drop_points == 0.0 and (found.int8_instructions, found.instructions) == (100.0, 220.0)


def test_what_can_be_spared_is_taken_back(searched):
    found = searched({"l0", "l5"})
    assert found.operators == ("l0", "l5")


def test_nothing_is_granted_where_int8_is_good_enough(searched):
    found = searched(set(), max_drop=5.0)
    assert found.operators == () and len(found.steps) == 1 and found.drop_points == 5.0


def test_a_budget_that_nothing_meets_is_refused(searched):
    with pytest.raises(ValueError, match=r"the drop is 5\.00 points whatever stays in float, and the budget 0\.5"):
        searched({"never"})


@pytest.mark.parametrize(
    ("name", "int8", "float32"),
    [("levit_128s", 34.66e6, 117.25e6), ("efficientvit_m0", 12.47e6, 32.49e6), ("fastervit_edge_0", 55.23e6, 187.31e6)],
)
def test_costs_are_those_that_the_emulated_core_counts(name, int8, float32):
    """Counted on cortex-a76 with LiteRT 2.3.0: python -m edge_vit.bench_arm --emulate FILE --cpu cortex-a76."""
    from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
    from edge_vit.layers.fuse import fuse
    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.models import create_model

    model = PixelInput(fuse(create_model(name, 10, 224).eval()), 224, IMAGENET_MEAN, IMAGENET_STD).eval()
    graph = export_graph(model, torch.zeros(1, 224, 224, 3))
    plan = make_plan(graph)
    none = make_plan(graph, keep_float=[plan.names[node] for node in plan.int8_nodes])
    assert estimate(graph, plan) == pytest.approx(int8, rel=0.06)
    assert estimate(graph, none) == pytest.approx(float32, rel=0.04)


def test_costs_do_not_change_what_they_look_at(single):
    graph, plan = single
    assert estimate(graph, plan) == estimate(graph, make_plan(graph)) and np.isfinite(estimate(graph, plan))
