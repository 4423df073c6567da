"""Put weights into models, strictly, whatever project's names they carry; know where published ones are."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_vit.layers.attention_bias import resize_bias_table
from edge_vit.layers.drop_path import DropPath
from edge_vit.models.checkpoint_io import read_checkpoint
from edge_vit.models.features import FeatureModel
from edge_vit.models.published import LICENCES
from edge_vit.models.registry import get_spec, image_size

_HEAD_PREFIXES = ("head.", "head_dist.", "norm.")  # what a backbone leaves off


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What a load did.

    Attributes:
        naming: Whose names the checkpoint used: "own", "official" or "timm".
        resized: Position tables that were resampled to the model's resolution.
        metadata: This project's metadata; {} in foreign files.
        licence: Of weights that the authors' names give away as published ones; "" for own names.
    """

    naming: str
    resized: tuple[str, ...]
    metadata: Mapping[str, Any]
    licence: str


@torch.no_grad()
def randomize_(model: nn.Module, seed: int = 0) -> None:
    """Give a model in training form random weights that leave activations as training does, the same every time.

    Initial weights will not do for measuring: residual branches that start at zero and biases that start equal make
    operators vanish and give ranges that no kernel takes. Batch norms take the statistics of a few smooth pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        if name.endswith("bias.table"):
            tensor.normal_(0.0, 0.5, generator=generator)
        elif name.endswith(".bias"):
            tensor.normal_(0.0, 0.1, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(0.0, tensor[0].numel() ** -0.5, generator=generator)
        else:  # scales; those of residual branches start at zero, and stay small
            low, high = (0.02, 0.1) if not tensor.any() else (0.5, 1.0)
            tensor.uniform_(low, high, generator=generator)
    norms = [module for module in model.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = None, torch.tensor(0)  # a plain average over all that is seen
    # Pictures differ in colour, contrast and detail; statistics of pictures that do not would blow up real ones.
    pictures = torch.randn(16, 3, 1, 1, generator=generator).expand(-1, -1, *image_size(model))
    for cells in (4, 16, 64):
        contrast = torch.rand(16, 1, 1, 1, generator=generator)
        detail = contrast * torch.randn(16, 3, cells, cells, generator=generator)
        pictures = pictures + F.interpolate(detail, size=image_size(model), mode="bicubic")
    was_training = model.training
    model.train()
    for module in model.modules():
        if isinstance(module, DropPath):  # draws from torch's own generator
            module.eval()
    model(pictures)
    model.train(was_training)


def load_weights(model: nn.Module, source: str | os.PathLike[str] | Mapping[str, Tensor]) -> LoadReport:
    """Load a checkpoint into a model's training form, every key accounted for.

    A licence that forbids commercial use is written to stderr.

    Args:
        model: As `create_model` gives it.
        source: A path, or a state dict, in official, timm or own naming.

    Raises:
        ValueError: If a key is missing or unexpected, or a shape differs (position tables
            excepted: these are resampled).
    """
    name = model.variant
    assert isinstance(name, str)
    metadata: dict[str, Any] = {}
    if isinstance(source, Mapping):
        tensors, label = dict(source), "state dict"
    else:
        tensors, metadata = read_checkpoint(source)
        label = f"checkpoint {os.fspath(source)}"
    if metadata.get("model", name) != name:
        raise ValueError(f"{label} is for {metadata['model']}, not {name}; name that model, or give another checkpoint")
    renamed = get_spec(name).remap(tensors, model.config)
    naming = _naming(tensors, renamed)
    if isinstance(model, FeatureModel):
        renamed = {key: value for key, value in renamed.items() if not key.startswith(_HEAD_PREFIXES)}
    expected = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    _check_keys(label, name, set(expected), set(renamed))
    resized = []
    for key, value in renamed.items():
        if key.endswith("bias.table") and value.shape != expected[key].shape:
            renamed[key] = resize_bias_table(value, round(expected[key].shape[1] ** 0.5))
            resized.append(key)
        if renamed[key].shape != expected[key].shape:
            raise ValueError(
                f"{label}: {key} has shape {tuple(value.shape)}, {name} needs {tuple(expected[key].shape)}; "
                "is it another variant, or another number of classes?"
            )
        if not torch.isfinite(renamed[key].float()).all():
            raise ValueError(f"{label}: {key} holds NaN or infinity; the file is damaged, get it again")
    model.load_state_dict({key: value.float() for key, value in renamed.items()}, strict=False)
    licence = "" if naming == "own" else LICENCES[get_spec(name).family]
    if "NON-COMMERCIAL" in licence:
        print(f"{name}: weights under the {licence}", file=sys.stderr)
    return LoadReport(naming=naming, resized=tuple(resized), metadata=metadata, licence=licence)


def _naming(tensors: Mapping[str, Tensor], renamed: Mapping[str, Tensor]) -> str:
    if set(renamed) <= set(tensors):
        return "own"
    return "timm" if "head.linear.weight" in tensors else "official"


def _check_keys(label: str, name: str, expected: set[str], got: set[str]) -> None:
    missing, unexpected = sorted(expected - got), sorted(got - expected)
    if not missing and not unexpected:
        return
    parts = []
    for kind, keys in (("missing", missing), ("unexpected", unexpected)):
        if keys:
            parts.append(f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})")
    raise ValueError(f"{label} does not fit {name}: {' and '.join(parts)} keys; is it for another variant?")


def compact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict for storage: matrices and kernels in half precision, vectors and tables as they are."""
    return {
        key: value.half() if value.dtype == torch.float32 and value.dim() > 1 and not key.endswith("table") else value
        for key, value in tensors.items()
    }
