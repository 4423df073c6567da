"""Teachers: a trained checkpoint whose answers another model learns from."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vit.layers.fuse import fuse
from edge_vit.models import create_model, load_weights
from edge_vit.models.checkpoint_io import read_checkpoint
from edge_vit.training.folders import Splits, check_same_classes


def load_teacher(path: Path, splits: Splits, device: torch.device, use_bf16: bool) -> Callable[[Tensor], Tensor]:
    """Return what a checkpoint of this project says to normalised images (B, 3, R, R): logits (B, classes).

    Raises:
        ValueError: If it was trained for other classes.
    """
    _, metadata = read_checkpoint(path)
    if "model" not in metadata:
        raise ValueError(f"teacher {path} is no checkpoint of edge_vit.train; train it with that command")
    check_same_classes(splits, metadata["classes"], f"teacher {path}")
    side = metadata["resolution"]
    teacher = create_model(metadata["model"], num_classes=len(splits.classes), resolution=side)
    load_weights(teacher, path)
    deployed = fuse(teacher).to(device)

    @torch.no_grad()
    def teach(x: Tensor) -> Tensor:
        if x.shape[-1] != side:
            x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
            return deployed(x)

    return teach
