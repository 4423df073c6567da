"""What trainers wrap a state dict in: dicts around it, prefixes of its keys, a second set of averaged weights.

DistributedDataParallel puts `module.` before every key, torch.compile `_orig_mod.`, a LightningModule the name of its
attribute (`model.`, `net.`); DeepSpeed saves a dict under `module`, most scripts under `state_dict` or `model`; timm
saves an average under `state_dict_ema`, LeViT's authors under `model_ema`. They nest in any order.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Keys of dicts that hold a state dict, in this order where a file has several.
CONTAINERS = ("model", "state_dict", "module", "net", "network", "model_state_dict")
AVERAGES = ("model_ema", "state_dict_ema", "ema", "ema_model", "ema_state_dict", "averaged")
# Wrappers of a part of a model, whose names stand in the middle of a key too.
_INNER = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_LEADING = _INNER | {"model", "net", "network", *AVERAGES}
_COUNTERS = ("n_averaged",)  # of torch.optim.swa_utils.AveragedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Unwrapped:
    """A flat state dict, and what was done to find it, line by line."""

    tensors: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(kw_only=True)
class _Set:
    """One set of weights: where it lies, what stood before or within its keys, and the tensors without that."""

    path: tuple[str, ...]
    removed: set[str]
    tensors: dict[str, Any]


def unwrap(content: Mapping[Any, Any], is_tensor: Callable[[Any], bool], *, takes_raw: bool = False) -> Unwrapped:
    """Find the state dict in what a trainer saved.

    Args:
        content: A dict of tensors, or of dicts that hold one.
        takes_raw: Where there are raw and averaged weights, take the raw ones in place of the average.

    Raises:
        ValueError: If there are no tensors, or `takes_raw` has nothing to choose from.
    """
    sets: dict[bool, _Set] = {}
    for path, tensors in _state_dicts(content, is_tensor, ()):
        for is_average, found in _split(path, tensors).items():
            sets.setdefault(is_average, found)
    if not sets:
        raise ValueError("it holds no tensors")
    if takes_raw and len(sets) == 1:
        raise ValueError("it holds one set of weights; leave --raw-weights out")
    chosen = sets[min(sets) if takes_raw else max(sets)]
    notes = []
    if len(sets) == 2:
        taken = "the raw ones are taken" if takes_raw else "the average is taken; --raw-weights takes the others"
        notes.append(f"holds raw and averaged weights: {taken}")
    if chosen.path:
        notes.append(f"weights lie under {' / '.join(chosen.path)}")
    if chosen.removed:
        notes.append(f"left out of the names: {', '.join(sorted(chosen.removed))}")
    return Unwrapped(tensors=chosen.tensors, notes=tuple(notes))


def _state_dicts(
    content: Mapping[Any, Any], is_tensor: Callable[[Any], bool], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield every flat dict of tensors and the keys that lead to it."""
    inner = [key for key in (*CONTAINERS, *AVERAGES) if isinstance(content.get(key), Mapping)]
    for key in inner:
        yield from _state_dicts(content[key], is_tensor, (*path, key))
    if not inner:
        tensors = {key: value for key, value in content.items() if isinstance(key, str) and is_tensor(value)}
        yield path, {key: value for key, value in tensors.items() if key not in _COUNTERS}


def _split(path: tuple[str, ...], tensors: dict[str, Any]) -> dict[bool, _Set]:
    """Return the raw (False) and the averaged (True) weights of a state dict, as far as it has them."""
    sets: dict[bool, _Set] = {}
    for key, value in tensors.items():
        words = key.split(".")
        leading = next((i for i, word in enumerate(words) if word not in _LEADING), len(words) - 1)
        prefix, rest = words[:leading], words[leading:]
        is_average = any(word in AVERAGES for word in (*path, *prefix))
        found = sets.setdefault(is_average, _Set(path=path, removed=set(), tensors={}))
        wrappers = [word for word in rest[:-1] if word in _INNER]
        plain = ".".join([word for word in rest[:-1] if word not in _INNER] + rest[-1:])
        if plain in found.tensors:  # two parts of one model: neither name can be left out
            return {any(word in AVERAGES for word in path): _Set(path=path, removed=set(), tensors=tensors)}
        found.tensors[plain] = value
        found.removed |= {".".join(prefix) + "."} if prefix else set()
        found.removed |= {word + "." for word in wrappers}
    return sets
