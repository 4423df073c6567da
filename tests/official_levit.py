"""Write a checkpoint as LeViT's authors publish them: their names, a thousand classes, both heads, in their wrapper.

    python tests/official_levit.py OUT.pth

Its backbone is the embedded levit_128s, so that its features are good; its heads are random.
"""

import sys

import torch

from edge_vit.models.levit import LEVIT_VARIANTS, _official_names
from edge_vit.models.registry import create_model
from edge_vit.models.sources import find_weights
from edge_vit.models.weights import load_backbone, randomize_

NAME = "levit_128s"


def official_checkpoint() -> dict[str, dict[str, torch.Tensor]]:
    """Return what torch.save writes of it."""
    model = create_model(NAME, num_classes=1000)
    randomize_(model)
    checkpoint = find_weights(NAME, "embedded", False).checkpoint
    assert checkpoint is not None
    load_backbone(model, checkpoint, [{"id": str(i), "name": str(i)} for i in range(1000)])
    theirs = {ours: theirs for theirs, ours in _official_names(LEVIT_VARIANTS[NAME]).items()}
    state = {}
    for key, value in model.state_dict().items():
        prefix, _, leaf = key.rpartition(".")
        state[theirs.get(key) or f"{theirs[prefix]}.{leaf}"] = value
    return {"model": state}


if __name__ == "__main__":
    torch.save(official_checkpoint(), sys.argv[1])
