"""A network of the user's own, in place of a variant: package.module:function, or FILE.py:function.

The function returns an nn.Module, or a dict with `module` and what else is known: `classes`, `mean`, `std`,
`resolution`, `crop_pct`, `interpolation`. Where it takes `num_classes`, it is told how many there are. It runs with
torch's random numbers seeded, so that it gives the same weights every time. Importing this loads no torch.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_vit.models.limits import Resolution, sides_of
from edge_vit.models.names import check_name, check_resolution
from edge_vit.models.sources import WeightsSource, no_ranges, open_weights
from edge_vit.models.user_code import call_function, file_of, function_name, names_function

if TYPE_CHECKING:
    from torch import nn

    from calibration.preprocess import Preprocess

DEFAULT_RESOLUTION = 224
_SAID = ("resolution", "mean", "std", "crop_pct", "interpolation")
_KEYS = ("module", "classes", *_SAID)
Color = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnNetwork:
    """Who makes a network, and what is said of its pictures in place of what the function says; None for nothing.

    Attributes:
        source: "package.module:function", or "FILE.py:function" with an absolute path.
        sha256: Digest of the file that the function stands in; None where it stands in none.
    """

    source: str
    sha256: str | None = None
    resolution: Resolution | None = None
    mean: Color | None = None
    std: Color | None = None
    crop_pct: float | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None

    @property
    def name(self) -> str:
        """What files are called after it."""
        return function_name(self.source)


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A network in eval mode: normalised images (B, 3, H, W) -> logits, see `layers.own_pixels.logits_of`.

    Attributes:
        classes: [{"id": ..., "name": ...}], as many as it gives logits.
        sha256: Digest of its weights, names and values.
    """

    module: "nn.Module"
    preprocess: "Preprocess"
    classes: list[dict[str, str]]

    @functools.cached_property
    def sha256(self) -> str:
        return digest(self.module)


def check_network(
    name: str, resolution: Resolution | None, *, mean: Color | None, std: Color | None, crop: float | None
) -> None:
    """Raise ValueError if a name is neither a variant's nor a function's, or the flags beside it do not go with it."""
    if names_function(name):
        if resolution is not None and not all(8 <= side <= 4096 for side in sides_of(resolution)):
            raise ValueError(f"resolution {resolution} is not allowed; use 8 to 4096 pixels")
        return
    check_name(name)
    for flag, value in (("--mean", mean), ("--std", std), ("--crop", crop)):
        if value is not None:
            raise ValueError(f"{flag} is for a network of your own, FILE.py:function; {name} knows its pictures")
    if resolution is not None:
        check_resolution(name, resolution)


def find_network(
    name: str,
    resolution: Resolution | None = None,
    *,
    mean: Color | None = None,
    std: Color | None = None,
    crop: float | None = None,
) -> OwnNetwork | None:
    """Return the user's own network of this name, None for a variant.

    Raises:
        ValueError: If there is no such file.
    """
    if not names_function(name):
        return None
    file = file_of(name)
    source = f"{Path(file).resolve()}:{function_name(name)}" if name.partition(".py:")[1] and file else name
    sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    return OwnNetwork(source=source, sha256=sha256, resolution=resolution, mean=mean, std=std, crop_pct=crop)


def find_own_weights(
    own: OwnNetwork,
    choice: str,
    *,
    is_int8: bool,
    has_calibration: bool = False,
    takes_raw: bool = False,
    may_lack_ranges: bool = False,
) -> WeightsSource:
    """Return the weights of a conversion: what the function gives ("auto"), or a checkpoint's.

    Args:
        may_lack_ranges: Whether a quantized checkpoint may take what ranges it has none of from calibration.

    Raises:
        ValueError: If there is no such checkpoint, or it does not go with what is asked for.
    """
    if choice in ("embedded", "imagenet", "random"):
        raise ValueError(
            f"--weights {choice} is for variants; {own.name} brings its own, or give the path of a checkpoint"
        )
    if choice == "auto":
        if takes_raw:
            raise ValueError("--raw-weights chooses between two sets of weights in a file; name it with --weights PATH")
        if is_int8 and not has_calibration:
            raise no_ranges(own.source)
        return WeightsSource(label=own.source, form="training")
    source = open_weights(choice, takes_raw=takes_raw)
    assert source.checkpoint is not None
    source.checkpoint.require_model(own.name)
    if source.form == "int8" and not is_int8:
        raise ValueError(f"{source.label} is quantized; add --int8, or give float weights")
    if source.form == "int8" and has_calibration and not may_lack_ranges:
        raise ValueError(f"{source.label} carries its ranges; leave --calib out, or give float weights")
    if source.form != "int8" and is_int8 and not has_calibration:
        raise no_ranges(source.label)
    made_for = source.metadata.get("resolution")
    if source.form == "int8" and own.resolution not in (None, made_for):
        raise ValueError(f"{source.label} was quantized at resolution {made_for}; leave --resolution out")
    _ = source.float_source  # is there
    return source


def load_network(
    own: OwnNetwork,
    source: WeightsSource | None = None,
    classes: Sequence[Mapping[str, str]] | None = None,
    *,
    may_know_more: bool = False,
) -> LoadedNetwork:
    """Call the user's function and load the weights, strictly.

    Args:
        source: Of a checkpoint its weights are loaded; else those that the function gives stay.
        classes: What it is to tell apart; None for what the checkpoint, the function, or ImageNet says.
        may_know_more: Where it tells more apart than those, return the ones that it says, or ImageNet's.

    Raises:
        ValueError: If the function fails, gives no network, or the weights or the classes do not fit it.
    """
    import torch

    wanted = classes or (None if source is None else source.metadata.get("classes"))
    offered = {} if wanted is None else {"num_classes": len(wanted)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = call_function(own.source, **offered)
    said = _described(made, own)
    module = said["module"]
    if source is not None and source.checkpoint is not None:
        checkpoint = source.float_source.checkpoint
        assert checkpoint is not None
        _load_strictly_(module, checkpoint.tensors, source.float_source.label)
        own = replace(
            own, **{key: source.metadata[key] for key in _SAID if key in source.metadata and _lacks(own, key)}
        )
    module.eval()
    preprocess = _preprocess(own, said)
    count = _count_logits(own, module, preprocess)
    named = [dict(entry) for entry in wanted] if wanted else _entries(said.get("classes"), count)
    if may_know_more and len(named) < count:
        named = _entries(said.get("classes"), count)
    if len(named) != count:
        raise ValueError(
            f"{own.source} gives {count} logits, but there are {len(named)} classes; let the function take num_classes"
        )
    return LoadedNetwork(module=module, preprocess=preprocess, classes=named)


def pictures_of(preprocess: "Preprocess") -> dict[str, Any]:
    """Return what a checkpoint's metadata says of a network's pictures, so that nobody says it again."""
    return {key: getattr(preprocess, key) for key in _SAID if key != "resolution"}


def _lacks(own: OwnNetwork, key: str) -> bool:
    return getattr(own, key) is None


def digest(module: "nn.Module") -> str:
    """Return the SHA-256 of a module's weights, names and values."""
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(dtype=_bytes()).numpy().tobytes())
    return found.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


def _described(made: Any, own: OwnNetwork) -> Mapping[str, Any]:
    from torch import nn

    said = made if isinstance(made, Mapping) else {"module": made}
    if unknown := [str(key) for key in said if key not in _KEYS]:
        raise ValueError(f"{own.source} returns a dict with {unknown[0]!r}; it takes {', '.join(_KEYS)}")
    module = said.get("module")
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"{own.source} returns {type(module if 'module' in said else made).__name__}; "
            f"return an nn.Module, or a dict with {', '.join(_KEYS)}"
        )
    return said


def _preprocess(own: OwnNetwork, said: Mapping[str, Any]) -> "Preprocess":
    from calibration.preprocess import Preprocess

    known: dict[str, Any] = {"resolution": DEFAULT_RESOLUTION}
    for key in _SAID:
        value = getattr(own, key)
        value = said.get(key) if value is None else value
        if value is not None:
            known[key] = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    try:
        return Preprocess(**known)
    except TypeError as e:
        raise ValueError(f"{own.source} says {known} of its pictures, which cannot be ({e})") from e


def _load_strictly_(module: "nn.Module", tensors: Mapping[str, Any], label: str) -> None:
    own = module.state_dict()
    given = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    if wrong := sorted(needed ^ given.keys()):
        kind = "lacks" if wrong[0] in needed else "has another key,"
        raise ValueError(f"{label} does not fit the network: {len(wrong)} keys differ; it {kind} {wrong[0]}")
    for key, value in given.items():
        if own[key].shape != value.shape:
            raise ValueError(
                f"{label} does not fit the network: {key} is {list(value.shape)}, needed {list(own[key].shape)}"
            )
    module.load_state_dict({key: value.to(own[key].dtype) for key, value in given.items()}, strict=False)


def _count_logits(own: OwnNetwork, module: "nn.Module", preprocess: "Preprocess") -> int:
    import torch

    from edge_vit.layers.own_pixels import logits_of
    from edge_vit.models.user_code import errors_of

    with (
        torch.no_grad(),
        errors_of(own.source, f"does not take a picture of {preprocess.size[0]} x {preprocess.size[1]}"),
    ):
        logits = logits_of(module(torch.zeros(1, 3, *preprocess.size)))
    if logits.dim() != 2 or logits.shape[0] != 1:
        raise ValueError(f"{own.source} gives {list(logits.shape)} for one picture; a classifier gives [1, classes]")
    return int(logits.shape[1])


def _entries(classes: Sequence[Any] | None, count: int) -> list[dict[str, str]]:
    from edge_vit.models.imagenet import NUM_CLASSES, imagenet_classes

    if classes is None:
        if count == NUM_CLASSES:
            return imagenet_classes()
        return [{"id": str(i), "name": f"class {i}"} for i in range(count)]
    return [
        {"id": str(entry.get("id", entry.get("name"))), "name": str(entry.get("name", entry.get("id")))}
        if isinstance(entry, Mapping)
        else {"id": str(entry), "name": str(entry)}
        for entry in classes
    ]
