"""Put weights into models, strictly, whatever project's names they carry; know where published ones are."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edge_vit.layers.attention_bias import resize_bias_table
from edge_vit.layers.drop_path import DropPath
from edge_vit.models.checkpoint_io import Checkpoint
from edge_vit.models.features import FeatureModel
from edge_vit.models.imagenet import NUM_CLASSES, imagenet_classes
from edge_vit.models.published import LICENCES
from edge_vit.models.registry import create_model, get_spec, image_size, list_models

_RANDOM_FILLS = frozenset({Tensor.normal_, Tensor.uniform_, nn.init.kaiming_uniform_, nn.init.uniform_})
_HEADS = ("head.", "head_dist.")  # what depends on the classes
_HEAD_PREFIXES = (*_HEADS, "norm.")  # what a backbone that gives maps leaves off


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What a load did.

    Attributes:
        naming: Whose names the checkpoint used: "own", "official", "timm" or "transformers".
        resized: Position tables that were resampled to the model's resolution.
        metadata: This project's metadata; {} in foreign files.
        licence: Of weights that the authors' names give away as published ones; "" for own names.
        notes: How the state dict was found in what a trainer saved, line by line.
        left_out: Keys of the checkpoint's heads, in this project's names, that were not loaded.
    """

    naming: str
    resized: tuple[str, ...]
    metadata: Mapping[str, Any]
    licence: str
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class WithoutRandomValues(TorchFunctionMode):
    """Within it, models get zeros where they would draw random numbers: quickly, for weights that are loaded next."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RANDOM_FILLS:
            with torch.no_grad():
                return (args[0] if args else kwargs["tensor"]).zero_()
        return func(*args, **(kwargs or {}))


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


def load_weights(model: nn.Module, source: str | os.PathLike[str] | Checkpoint | Mapping[str, Tensor]) -> LoadReport:
    """Load a checkpoint into a model's training form, every key accounted for.

    A licence that forbids commercial use is written to stderr.

    Args:
        model: As `create_model` gives it.
        source: A path, an opened checkpoint, or a state dict, in official, timm, transformers or own naming.

    Raises:
        ValueError: If a key is missing or unexpected, or a shape differs (position tables
            excepted: these are resampled).
    """
    if isinstance(source, Mapping):
        return _load_(model, _named(model, source, "state dict"))
    checkpoint = source if isinstance(source, Checkpoint) else Checkpoint(source)
    checkpoint.require_model(str(model.variant))
    return _load_(model, _named(model, checkpoint.tensors, f"checkpoint {checkpoint.path}"), checkpoint)


def load_backbone(
    model: nn.Module,
    source: str | os.PathLike[str] | Checkpoint,
    classes: Sequence[Mapping[str, str]] | None = None,
) -> LoadReport:
    """Load all but the head of a checkpoint, strictly; the head too where it tells the same classes apart.

    Where the classes differ, every head of the model, with its batch norm, keeps the values that it has, and the
    report's `left_out` names the checkpoint's. A checkpoint of a variant with the same shapes fits: an edge variant may
    start from its original.

    Args:
        model: As `create_model` gives it.
        source: A path or an opened checkpoint, in any naming that `load_weights` takes.
        classes: [{"id": ..., "name": ...}], in the order of the model's outputs. The head is loaded if the checkpoint
            has the same ids in the same order; one of a thousand classes that names none has ImageNet's. None: it is
            loaded if it has as many classes.

    Raises:
        ValueError: If a key is missing or unexpected, a shape differs (position tables excepted), or there is no head.
    """
    checkpoint = source if isinstance(source, Checkpoint) else Checkpoint(source)
    found = _named(model, checkpoint.tensors, f"checkpoint {checkpoint.path}")
    state = model.state_dict()
    head = {key: value for key, value in found.tensors.items() if key.startswith(_HEADS) and key in state}
    if not any(value.dim() == 2 for value in head.values()):
        wanted = ", ".join(key for key, value in state.items() if key.startswith(_HEADS) and value.dim() == 2)
        raise ValueError(f"{found.label} has no head ({wanted}); give a checkpoint of a classifier")
    theirs = checkpoint.classes
    if theirs is None and count_classes(checkpoint.tensors) == NUM_CLASSES:
        theirs = imagenet_classes()
    is_same = classes is None or (theirs is not None and [c["id"] for c in theirs] == [c["id"] for c in classes])
    ours = {key: value.shape for key, value in state.items() if key.startswith(_HEADS) and not _is_counter(key)}
    if is_same and ours == {key: value.shape for key, value in head.items()}:
        return _load_(model, found, checkpoint)
    return _load_(model, found, checkpoint, left_out=tuple(head))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    """A state dict in this project's names, and what to call it.

    Attributes:
        given: The same in the names that it came with.
    """

    tensors: dict[str, Tensor]
    given: Mapping[str, Tensor]
    naming: str
    label: str


def _named(model: nn.Module, tensors: Mapping[str, Tensor], label: str) -> _Named:
    renamed = get_spec(str(model.variant)).remap(dict(tensors), model.config)
    naming = _naming(tensors, renamed)
    if isinstance(model, FeatureModel):
        renamed = {key: value for key, value in renamed.items() if not key.startswith(_HEAD_PREFIXES)}
    return _Named(tensors=renamed, given=tensors, naming=naming, label=label)


def _load_(
    model: nn.Module, found: _Named, checkpoint: Checkpoint | None = None, left_out: tuple[str, ...] = ()
) -> LoadReport:
    """Load a state dict strictly, but for some keys of heads; the model's heads then stay as they are."""
    name, label = str(model.variant), found.label
    expected = {key: value for key, value in model.state_dict().items() if not _is_counter(key)}
    if left_out:
        expected = {key: value for key, value in expected.items() if not key.startswith(_HEADS)}
    tensors = {key: value for key, value in found.tensors.items() if key not in left_out}
    if set(expected) != set(tensors):
        raise ValueError(_other_keys(label, name, set(expected), set(tensors), found.given))
    resized = []
    for key, value in tensors.items():
        if key.endswith("bias.table") and value.shape != expected[key].shape:
            tensors[key] = resize_bias_table(value, round(expected[key].shape[1] ** 0.5))
            resized.append(key)
        if tensors[key].shape != expected[key].shape:
            raise ValueError(
                f"{label}: {key} has shape {tuple(value.shape)}, {name} needs {tuple(expected[key].shape)}; "
                f"is it another variant, or another number of classes?{_fitting_hint(found.given)}"
            )
        if not torch.isfinite(tensors[key].float()).all():
            raise ValueError(f"{label}: {key} holds NaN or infinity; the file is damaged, get it again")
    model.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=False)
    licence = "" if found.naming == "own" else LICENCES[get_spec(name).family]
    if "NON-COMMERCIAL" in licence:
        print(f"{name}: weights under the {licence}", file=sys.stderr)
    return LoadReport(
        naming=found.naming,
        resized=tuple(resized),
        metadata={} if checkpoint is None else checkpoint.metadata,
        licence=licence,
        notes=() if checkpoint is None else checkpoint.notes,
        left_out=left_out,
    )


def count_classes(tensors: Mapping[str, Tensor]) -> int:
    """Return how many classes a state dict, in anybody's naming, tells apart; a thousand where it has no head."""
    keys = ("head.l.weight", "head.linear.weight", "head.weight", "classifier.linear.weight")
    return next((tensors[key].shape[0] for key in keys if key in tensors), NUM_CLASSES)


def fitting_variants(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the variants that a state dict, in anybody's naming, fits for some number of classes and resolution."""
    sizes = {size for value in tensors.values() for size in value.shape}
    # Models are made without memory, but making one takes time: only those whose widths occur.
    likely = [name for name in list_models() if sizes.issuperset(get_spec(name).config.channels)]
    return tuple(name for name in likely if not _misfit(tensors, name))


def require_fit(tensors: Mapping[str, Tensor], name: str) -> None:
    """Raise ValueError if a state dict is none of variant `name`, for some number of classes and resolution."""
    if misfit := _misfit(tensors, name):
        raise ValueError(f"holds no weights of {name}: {misfit}")


def _misfit(tensors: Mapping[str, Tensor], name: str) -> str:
    """Return the first key of which the variant or the state dict has another or none, "" if there is none."""
    spec = get_spec(name)
    got = spec.remap(dict(tensors), spec.config)
    with torch.device("meta"):
        state = create_model(name).state_dict()
    expected = {key: value for key, value in state.items() if not _is_counter(key)}
    for key in sorted(expected.keys() ^ got.keys()):
        return key
    for key, value in expected.items():
        # The head has its classes first; tables follow the resolution.
        skip = 1 if key.startswith(_HEAD_PREFIXES) else value.dim() if key.endswith("bias.table") else 0
        if got[key].dim() != value.dim() or got[key].shape[skip:] != value.shape[skip:]:
            return key
    return ""


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _naming(tensors: Mapping[str, Tensor], renamed: Mapping[str, Tensor]) -> str:
    if set(renamed) <= set(tensors):
        return "own"
    if "classifier.linear.weight" in tensors:
        return "transformers"
    return "timm" if "head.linear.weight" in tensors else "official"


def _other_keys(label: str, name: str, expected: set[str], got: set[str], tensors: Mapping[str, Tensor]) -> str:
    """Return what is wrong with keys that differ: some of them, some that the file has, and what it fits."""
    parts = []
    for kind, keys in (("missing", sorted(expected - got)), ("unexpected", sorted(got - expected))):
        if keys:
            parts.append(f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})")
    has = ", ".join(list(tensors)[:3])
    return (
        f"{label} does not fit {name}: {' and '.join(parts)} keys; is it for another variant? "
        f"Its keys are {has}{', ...' if len(tensors) > 3 else ''}{_fitting_hint(tensors)}"
    )


def _fitting_hint(tensors: Mapping[str, Tensor]) -> str:
    names = fitting_variants(tensors)
    return f"; it fits {', '.join(names)}" if names else ""


def compact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict for storage: matrices and kernels in half precision, vectors and tables as they are."""
    return {
        key: value.half() if value.dtype == torch.float32 and value.dim() > 1 and not key.endswith("table") else value
        for key, value in tensors.items()
    }
