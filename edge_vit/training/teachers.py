"""Teachers: a trained checkpoint whose answers another model learns from."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vit.layers.fuse import fuse
from edge_vit.models import create_model, load_weights
from edge_vit.models.checkpoint_io import read_checkpoint


def load_teacher(path: Path, num_classes: int, device: torch.device, use_bf16: bool) -> Callable[[Tensor], Tensor]:
    """Return what a checkpoint of this project says to normalised images (B, 3, R, R): logits (B, num_classes).

    Raises:
        ValueError: If it was trained for another number of classes.
    """
    _, metadata = read_checkpoint(path)
    if "model" not in metadata or len(metadata["classes"]) != num_classes:
        raise ValueError(f"teacher {path} is no checkpoint of edge_vit.train for these {num_classes} classes")
    teacher = create_model(metadata["model"], num_classes=num_classes, resolution=metadata["resolution"])
    load_weights(teacher, path)
    deployed = fuse(teacher).to(device)
    side = metadata["resolution"]

    @torch.no_grad()
    def teach(x: Tensor) -> Tensor:
        if x.shape[-1] != side:
            x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
            return deployed(x)

    return teach
