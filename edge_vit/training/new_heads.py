"""A new classifier on features that are good already starts where regression puts it, not at random.

A few dozen steps do not teach a random classifier what one linear solve knows, and its first gradients would spoil the
features. It is ridge regression on the classes. Its penalty and the scale of the logits are those with the least
cross-entropy when every picture is left out in turn, which needs no second solve.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calibration.dataset import BatchLoader, ImageSet, choose
from calibration.preprocess import Preprocess, normalise
from edge_vit.training.groups import HEADS

MOST_PICTURES, MOST_OF_A_CLASS = 5000, 100
_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@torch.no_grad()
def fit_heads_(model: nn.Module, images: ImageSet, resolution: int, threads: int) -> None:
    """Fit every head of a model, in place, to pictures as they are judged; the rest stays as it is.

    Args:
        model: In training form, its heads new: each a linear layer, or a batch norm and one.
        images: Labelled; some of each class are taken.
    """
    num_classes = len(images.folders)
    chosen = choose(images, min(MOST_PICTURES, MOST_OF_A_CLASS * num_classes))
    heads = [head for name in HEADS if (head := getattr(model, name, None)) is not None]
    features, labels = _features(model, heads[0], chosen, resolution, threads)
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    weight, bias = _ridge((features - mean) / std, labels, num_classes)
    for head in heads:
        norm, linear = getattr(head, "norm", None), getattr(head, "linear", head)
        if norm is None:
            linear.weight.copy_(weight / std)
            linear.bias.copy_(bias - (weight / std) @ mean)
            continue
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(std.square())
        norm.weight.fill_(1.0)
        norm.bias.fill_(0.0)
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def _features(
    model: nn.Module, head: nn.Module, images: ImageSet, resolution: int, threads: int
) -> tuple[Tensor, Tensor]:
    """Return what the head is given, float64 (N, D), and the labels (N,)."""
    preprocess, seen = Preprocess(resolution=resolution), []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].double()))
    was_training, labels = model.training, []
    model.eval()
    try:
        for batch in BatchLoader(images, preprocess, threads=threads):
            model(torch.from_numpy(normalise(batch.pixels, preprocess)))
            labels.append(torch.from_numpy(batch.labels))
    finally:
        hook.remove()
        model.train(was_training)
    return torch.cat(seen), torch.cat(labels)


def _ridge(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return weight (classes, D) and bias (classes,) of a classifier of standardised features (N, D)."""
    targets = F.one_hot(labels, num_classes).double()
    share = targets.mean(0)
    left, sizes, right = torch.linalg.svd(features, full_matrices=False)
    projected = left.T @ (targets - share)
    best = (float("inf"), features.new_zeros(num_classes, features.shape[1]), share)
    for penalty, kept in _shrinkage(sizes, len(features)):
        fitted = left @ (kept[:, None] * projected)
        leverage = ((left.square() * kept).sum(1, keepdim=True) + 1.0 / len(features)).clamp_max(1.0 - 1e-6)
        without = (share + fitted - leverage * targets) / (1.0 - leverage)
        for scale in _SCALES:
            loss = float(F.cross_entropy(scale * without, labels))
            if loss < best[0]:
                weight = (right.T @ ((sizes / (sizes.square() + penalty))[:, None] * projected)).T
                best = loss, scale * weight, scale * share
    return best[1], best[2]


def _shrinkage(sizes: Tensor, count: int) -> Iterator[tuple[float, Tensor]]:
    """Yield penalties and what each leaves of every principal direction."""
    for share in _PENALTIES:
        penalty = share * count
        yield penalty, sizes.square() / (sizes.square() + penalty)
