"""Which parameters learn how fast: each block its learning rate, the classifier the whole of it."""

from collections.abc import Iterable

import torch
from torch import nn

HEADS = ("head", "head_dist")
USUAL_WEIGHT = 0.02  # root mean square
# Numbers deeper in a name count the parts of a block.
_DEEPEST = 5


def is_head(name: str) -> bool:
    """Tell whether a parameter or module belongs to the classifier, or to that of distillation."""
    return name.split(".", 1)[0] in HEADS


def block_of(name: str) -> str:
    """Return the block that a parameter belongs to: its name up to the number of the block."""
    words = name.split(".")
    numbers = [i for i, word in enumerate(words[:_DEEPEST]) if word.isdigit()]
    return ".".join(words[: numbers[-1] + 1]) if numbers else words[0]


def lr_scales(names: Iterable[str], layer_decay: float) -> dict[str, float]:
    """Return each parameter's share of the learning rate.

    It is 1 for the classifier, and falls by `layer_decay` with each block further down.

    Args:
        names: In the order of the network.
    """
    names = list(names)
    blocks = {block: depth for depth, block in enumerate(dict.fromkeys(block_of(n) for n in names if not is_head(n)))}
    return {name: 1.0 if is_head(name) else layer_decay ** (len(blocks) - blocks[block_of(name)]) for name in names}


def make_optimizer(
    model: nn.Module, lr: float, weight_decay: float, layer_decay: float = 1.0, is_folded: bool = False
) -> torch.optim.AdamW:
    """Return AdamW; norms, biases and bias tables are not decayed.

    Its groups carry `lr_scale` and `is_head` for whoever sets their learning rates.

    Args:
        is_folded: Whether batch norms are folded into the weights. A batch norm makes a weight's size not matter;
            without it a step that suits large weights throws small ones about, so theirs shrinks with their size (as
            in Adafactor, arXiv 1804.04235).
    """
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    scales = lr_scales((name for name, _ in model.named_parameters()), layer_decay)
    for name, parameter in model.named_parameters():
        is_decayed = parameter.ndim > 1 and not name.endswith("table")
        scale = scales[name]
        if is_folded and parameter.ndim > 1:
            scale *= min(1.0, float(parameter.detach().square().mean().sqrt()) / USUAL_WEIGHT)
        groups.setdefault((scale, is_head(name), is_decayed), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": weight_decay * is_decayed, "lr_scale": scale, "is_head": is_new}
            for (scale, is_new, is_decayed), parameters in groups.items()
        ],
        lr=lr,
    )
