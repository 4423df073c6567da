"""A new classifier starts where regression puts it."""

import pytest
import tiny_training as tiny
import torch
import torch.nn.functional as F

from calibration.dataset import BatchLoader
from calibration.preprocess import Preprocess, normalise
from edge_vit.models import create_model
from edge_vit.training import new_heads
from edge_vit.training.folders import list_splits


@pytest.mark.parametrize("name", [tiny.NAME, "efficientvit_m0", "fastervit_edge_0"])
def test_it_tells_the_classes_apart_before_it_learns(name, pictures):
    torch.manual_seed(0)
    model = create_model(name, num_classes=2, resolution=tiny.SIDE if name == tiny.NAME else 128)
    side = tiny.SIDE if name == tiny.NAME else 128
    splits = list_splits(pictures)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    new_heads.fit_heads_(model, splits.train, side, threads=1)
    assert model.training
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith(("head.", "head_dist.")) for key in changed)
    preprocess, right = Preprocess(resolution=side), 0
    model.eval()
    with torch.no_grad():
        for batch in BatchLoader(splits.val, preprocess):
            logits = model(torch.from_numpy(normalise(batch.pixels, preprocess)))
            right += int((logits.argmax(-1) == torch.from_numpy(batch.labels)).sum())
    assert right >= 15, "random features of 16 pictures, red and blue"


def test_leaving_each_picture_out_needs_no_second_solve():
    """The short formula gives what solving without that picture gives."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    features -= features.mean(0)
    labels = torch.randint(0, 3, (30,), generator=generator)
    best = (float("inf"), 0.0, 0.0)
    extended = torch.cat([features, torch.ones(30, 1, dtype=torch.float64)], 1)
    targets = F.one_hot(labels, 3).double()
    for share in new_heads._PENALTIES:
        penalty = torch.diag(torch.tensor([share * 30] * 5 + [0.0], dtype=torch.float64))
        rows = []
        for left_out in range(30):
            kept = [i for i in range(30) if i != left_out]
            x, y = extended[kept], targets[kept]
            rows.append(extended[left_out] @ torch.linalg.solve(x.T @ x + penalty, x.T @ y))
        for scale in new_heads._SCALES:
            loss = float(F.cross_entropy(scale * torch.stack(rows), labels))
            best = min(best, (loss, share, scale))
    _, share, scale = best
    penalty = share * 30 * torch.eye(5, dtype=torch.float64)
    weight = torch.linalg.solve(features.T @ features + penalty, features.T @ (targets - targets.mean(0))).T
    got_weight, got_bias = new_heads._ridge(features, labels, 3)
    torch.testing.assert_close(got_weight, scale * weight)
    torch.testing.assert_close(got_bias, scale * targets.mean(0))
