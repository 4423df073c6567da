"""The learning rate, the moving average and what is decayed, each by itself."""

import itertools
import math

import pytest
import torch
from torch import nn

from edge_vit.training import loop
from edge_vit.training.config import Recipe
from edge_vit.training.groups import make_optimizer
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
    optimizer = make_optimizer(model, 0.1, 0.05)
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
        "evaluate": None, "score": None, "save": None, "batch_size": 4, "fingerprint": {},
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
    ("scores", "chosen"),
    [
        ([(50.0, 1.0), (40.0, 0.5), (45.0, 0.5)], [-1]),
        ([(50.0, 1.0), (50.0, 2.0), (50.0, 3.0)], [-1, 0]),  # of two as good, the one that learnt
        ([(50.0, 1.0), (40.0, 1.0), (60.0, 9.0)], [-1, 1]),
        ([(50.0, 1.0), (60.0, 1.0), (60.0, 0.9)], [-1, 0, 1]),  # few pictures are soon all right; then the loss tells
    ],
)
def test_the_epoch_is_chosen_by_pictures_held_back(tmp_path, scores, chosen):
    """What the others say chooses nothing: each epoch is better there than the one before."""
    held_back, saved = iter([loop.Score(top1=top1, loss=loss) for top1, loss in scores]), []
    judged = iter([70.0, 71.0, 72.0])
    run = make_run(
        Two(), is_start_judged=True, folder=tmp_path, score=lambda module: next(held_back),
        evaluate=lambda module: next(judged), save=lambda module, top1, is_start: saved.append((top1, is_start)),
    )  # fmt: skip
    loop._start(run)
    for epoch in (0, 1):
        loop._choose(run, epoch, run.score(run.averaged))
    assert saved == [(70.0 + i, i == 0) for i in range(len(chosen))]
    assert run.chosen_epoch == chosen[-1] and run.is_start_kept == (chosen == [-1]) and run.start_top1 == 70.0


def test_without_pictures_held_back_the_last_epoch_is_chosen():
    saved = []
    judged = iter([90.0, 10.0])
    run = make_run(
        Two(), score=lambda module: None, evaluate=lambda module: next(judged),
        save=lambda module, top1, is_start: saved.append(top1),
    )  # fmt: skip
    for epoch in (0, 1):
        loop._choose(run, epoch, run.score(run.averaged))
    assert saved == [90.0, 10.0] and run.chosen_epoch == 1 and run.top1 == 10.0


@pytest.mark.parametrize(
    ("patience", "epoch", "chosen", "is_over"),
    [(None, 99, 0, False), (2, 3, 0, True), (2, 2, 0, False), (2, 3, 1, False), (1, 1, -1, False), (1, 2, -1, True)],
)
def test_patience(patience, epoch, chosen, is_over):
    run = make_run(Two(), patience=patience)
    run.epoch, run.chosen_epoch = epoch, chosen
    assert loop.is_patience_over(run) is is_over


def test_a_teachers_answer_is_learnt_softly_or_as_a_class():
    logits, taught = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[3.0, 1.0, 0.0]])
    soft = -(taught.div(2).softmax(-1) * logits.div(2).log_softmax(-1)).sum() * 4
    assert float(loop.distillation_loss(logits, taught, 2.0, False)) == pytest.approx(float(soft))
    hard = -logits.log_softmax(-1)[0, 0]
    assert float(loop.distillation_loss(logits, taught, 2.0, True)) == pytest.approx(float(hard))
