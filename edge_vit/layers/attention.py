"""Multi-head attention on tokens in three axes, and the surgery on linear layers that its deploy forms share.

Shapes: `B` batch, `N` queries, `M` keys, `C` channels, `h` heads, `D` channels a head, `K` key dim, `V` value dim.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_vit.layers.conv_norm import make_linear

Weighting = Callable[[Tensor], Tensor]


def softmax_weights(scores: Tensor) -> Tensor:
    """Weigh the keys, last axis, by the softmax of their scores."""
    return scores.softmax(-1)


def relu_weights(scores: Tensor) -> Tensor:
    """Weigh the keys, last axis, by their positive scores over the number of keys (arXiv 2309.08586).

    No runtime has a fast int8 softmax; this is an addition with a fused ReLU once the values carry the factor.
    """
    return scores.relu() / scores.shape[-1]


def relu6_weights(scores: Tensor) -> Tensor:
    """The same with scores cut off at 6, over six times the number of keys: no weight exceeds its even share.

    Where heads feed on one another's output, ReLU weights multiply up: a picture unlike the training data overflows.
    """
    return F.hardtanh(scores, 0.0, 6.0) / (6.0 * scores.shape[-1])


WEIGHTINGS: dict[str, Weighting] = {"softmax": softmax_weights, "relu": relu_weights, "relu6": relu6_weights}


def deploy_weighting(weigh: Weighting, num_keys: int) -> tuple[Weighting, float]:
    """Return a weighting and the factor on values that together equal `weigh`."""
    if weigh is relu_weights:
        return torch.relu, 1.0 / num_keys
    if weigh is relu6_weights:
        return _relu6, 1.0 / (6.0 * num_keys)
    return weigh, 1.0


def _relu6(scores: Tensor) -> Tensor:
    return F.hardtanh(scores, 0.0, 6.0)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, h * D) -> (B * h, N, D)."""
    batch, tokens, channels = x.shape
    x = x.view(batch, tokens, num_heads, channels // num_heads).transpose(1, 2)
    return x.reshape(batch * num_heads, tokens, channels // num_heads)


def merge_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B * h, N, D) -> (B, N, h * D)."""
    batch, tokens, channels = x.shape[0] // num_heads, x.shape[1], x.shape[2]
    x = x.view(batch, num_heads, tokens, channels).transpose(1, 2)
    return x.reshape(batch, tokens, num_heads * channels)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, weigh: Weighting = softmax_weights) -> Tensor:
    """Attend with already scaled queries.

    Args:
        q: (B * h, N, K). k: (B * h, M, K). v: (B * h, M, V). bias: (h, N, M).
        weigh: Scores (..., N, M) -> weights of the keys.

    Returns:
        (B * h, N, V).
    """
    scores = torch.bmm(q, k.transpose(1, 2))
    if scores.shape[0] == bias.shape[0]:  # batch one keeps three axes
        weights = weigh(scores + bias)
    else:  # (B * h, N, M) -> (B, h, N, M) and back: the constant is spread by the addition, not copied
        weights = weigh(scores.view(-1, *bias.shape) + bias).view(scores.shape)
    return torch.bmm(weights, v)


def split_rows(linear: nn.Linear, num_heads: int, dims: list[int]) -> list[nn.Linear]:
    """Split a linear layer whose rows lie head by head into one layer per part, rows head-major in each."""
    weight = linear.weight.detach().view(num_heads, sum(dims), -1).split(dims, dim=1)
    bias = linear.bias.detach().view(num_heads, sum(dims)).split(dims, dim=1)
    return [make_linear(w.flatten(0, 1), b.flatten()) for w, b in zip(weight, bias, strict=True)]


def scale_linear_(linear: nn.Linear | nn.Conv2d, factor: float) -> None:
    """Multiply the function of a linear layer or convolution by `factor`, in place."""
    linear.weight.data.mul_(factor)
    linear.bias.data.mul_(factor)
