"""Load weights into models of any input size: tables of square grids are stretched over rectangles."""

import torch
from torch import Tensor, nn

from edge_vit.layers.attention_bias import AttentionBias, resize_bias_table
from edge_vit.models.checkpoint_io import Checkpoint
from edge_vit.models.limits import Resolution
from edge_vit.models.published import default_resolution
from edge_vit.models.registry import create_model
from edge_vit.models.weights import LoadReport, load_weights


def load_model(
    name: str, checkpoint: Checkpoint, num_classes: int, resolution: Resolution, *, features_only: bool = False
) -> tuple[nn.Module, LoadReport]:
    """Create variant `name` in training form and load a checkpoint, every key accounted for.

    Args:
        resolution: Side of the pictures in pixels, or height and width.
        features_only: Leave the head off, as in `create_model`.

    Raises:
        ValueError: If the weights do not fit, or the variant does not take this size.
    """
    model = create_model(name, num_classes, resolution, features_only=features_only)
    if not any(isinstance(module, AttentionBias) and not module.is_square for module in model.modules()):
        return model, load_weights(model, checkpoint)
    # Published tables, and those that training makes, are of squares: load at the size that they were made for.
    made_for = checkpoint.metadata.get("resolution", default_resolution(name))
    square = create_model(name, num_classes, made_for, features_only=features_only)
    report = load_weights(square, checkpoint)
    state = square.state_dict()
    for key, module in model.named_modules():
        if isinstance(module, AttentionBias):
            state[f"{key}.table"] = _stretched(state[f"{key}.table"], module)
    model.load_state_dict(state)
    return model, report


def _stretched(table: Tensor, module: AttentionBias) -> Tensor:
    with torch.no_grad():
        return resize_bias_table(table, module.grid)
