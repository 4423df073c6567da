"""The learning rate, the moving average and what is decayed, each by itself."""

import itertools
import math

import pytest
import torch
from torch import nn

from edge_vit.training import loop
from edge_vit.training.config import Recipe
from edge_vit.training.processes import Place


def test_the_learning_rate_rises_linearly_and_falls_with_half_a_cosine():
    factors = [loop.lr_factor(step / 10, 20, 2.0) for step in range(201)]
    assert factors[0] < 1e-3 and factors[10] == pytest.approx(0.5, abs=1e-3)
    assert factors[20] == 1.0 == max(factors)
    steps = [after - before for before, after in itertools.pairwise(factors[:20])]
    assert max(steps) == pytest.approx(min(steps)), "a straight line"
    assert factors[20:] == sorted(factors[20:], reverse=True)
    for step in range(20, 201):
        assert factors[step] == pytest.approx(0.01 + 0.495 * (1 + math.cos(math.pi * (step - 20) / 180)))
    assert factors[200] == pytest.approx(0.01)


def test_without_warm_up_it_starts_at_the_peak():
    assert loop.lr_factor(0.0, 3, 0.0) == 1.0 and loop.lr_factor(3.0, 3, 0.0) == pytest.approx(0.01)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)
        self.table = nn.Parameter(torch.zeros(2, 4))

    def forward(self, x):
        return self.norm(self.linear(x))


def test_weights_alone_are_decayed():
    model = Two()
    optimizer = loop.make_optimizer(model, 0.1, 0.05)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "linear.weight": 0.05, "linear.bias": 0.0, "norm.weight": 0.0, "norm.bias": 0.0, "table": 0.0,
    }  # fmt: skip


def make_run(model, **options):
    recipe = Recipe(epochs=options.pop("epochs", 2), ema_decay=options.pop("ema_decay", 0.9), warmup_share=0.0,
                    freeze_share=options.pop("freeze_share", 0.0))  # fmt: skip
    known = {
        "recipe": recipe, "distill_weight": 0.5, "seed": 0, "use_bf16": False, "log_every": 1, "place": Place(),
        "model": model, "averaged": loop.make_average(model, recipe.ema_decay), "steps": 4, "num_classes": 2,
        "device": torch.device("cpu"), "optimizer": None, "batches": None, "augment": None, "folder": None,
        "evaluate": None, "save_best": None, "fingerprint": {},
    }  # fmt: skip
    return loop.Run(**{**known, **options})


def test_the_average_follows_the_weights_and_their_statistics():
    model = Two()
    run = make_run(model, ema_decay=0.9)
    assert run.averaged is not model and not any(p.requires_grad for p in run.averaged.parameters())
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(200):
        with torch.no_grad():
            model.linear.weight.fill_(float(step))
            model.norm.running_mean.fill_(-float(step))
            model.norm.num_batches_tracked.fill_(step)
        loop._update_average(run, step)
        decay = min(0.9, (1 + step) / (10 + step))  # a young average forgets faster
        for name, value in model.state_dict().items():
            mixed = decay * expected[name] + (1 - decay) * value if value.dtype.is_floating_point else value
            expected[name] = mixed.clone()
    assert run.averaged.norm.num_batches_tracked == 199
    for name, value in run.averaged.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert float(run.averaged.linear.weight[0, 0]) == pytest.approx(199 - 9, abs=0.1), "0.9 / (1 - 0.9) steps behind"


def test_without_averaging_the_model_is_its_own_average():
    model = Two()
    run = make_run(model, ema_decay=0.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loop._update_average(run, 3)
    assert run.averaged is model
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("epochs", "share", "first"), [(2, 0.5, 4), (1, 0.25, 3), (3, 1 / 3, 8), (2, 0.0, None)])
def test_ranges_freeze_for_their_share_of_the_run(epochs, share, first):
    frozen_at = []
    run = make_run(Two(), epochs=epochs, freeze_share=share, freeze=lambda: frozen_at.append(step))
    for step in range(4 * epochs):
        loop._freeze_in_time(run, step)
    assert frozen_at == ([] if first is None else [first])


@pytest.mark.parametrize(
    ("top1s", "saved", "is_start_kept"),
    [
        ([50.0, 40.0, 45.0], [(50.0, True)], True),
        ([50.0, 50.0, 50.0], [(50.0, True), (50.0, False)], False),
        ([50.0, 40.0, 60.0], [(50.0, True), (60.0, False)], False),
    ],
)
def test_an_epoch_that_is_worse_than_the_start_does_not_replace_it(tmp_path, top1s, saved, is_start_kept):
    judged, got = iter(top1s), []
    run = make_run(
        Two(), is_start_judged=True, folder=tmp_path, evaluate=lambda module: next(judged),
        save_best=lambda module, top1, is_start: got.append((top1, is_start)),
    )  # fmt: skip
    loop._start(run)
    for top1 in judged:
        loop._keep_best(run, top1)
    assert got == saved and run.is_start_kept == is_start_kept and run.start_top1 == 50.0
