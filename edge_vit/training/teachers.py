"""Teachers: classifiers whose answers another model learns from. They may know more classes, and see another size."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from calibration.dataset import match_classes
from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from converters.artefact import RUNNERS, check_artefact, load_artefact
from converters.first_line import first_line
from edge_vit.layers.fuse import fuse
from edge_vit.models.checkpoint_io import Checkpoint
from edge_vit.models.own import find_network, load_network
from edge_vit.models.rectangles import load_model
from edge_vit.models.user_code import call_function, names_function
from edge_vit.training.folders import Splits

# What an exported program carries beside itself: torch.export.save(..., extra_files={INFO_FILE: json}).
INFO_FILE = "edge_vit.json"
_WHAT = "mean, std, classes and perhaps resolution"


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A classifier, and what it must be shown.

    Attributes:
        module: Normalised images (B, 3, R, R), float32 -> logits (B, classes), or an object with `logits`.
        classes: Names, or {"id": ..., "name": ...}, in the order of its logits. They are matched to the data's by id,
            such as a synset, or by name; of "tench, Tinca tinca" each part is a name.
        mean: Of RGB in 0 to 1.
        std: Likewise.
        resolution: Side in pixels of what it is shown; None for the student's.
    """

    module: Callable[[Tensor], Any]
    classes: Sequence[Any]
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    resolution: int | None = None


def load_teacher(
    source: str,
    splits: Splits,
    device: torch.device,
    use_bf16: bool,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Callable[[Tensor], Tensor]:
    """Return what a teacher says to normalised images (B, 3, R, R): logits (B, classes of the data).

    Args:
        mean, std: With which the student's images are normalised.
        source: A checkpoint of this project, a converted file with its manifest, a .pt2 program with `INFO_FILE` in it,
            or package.module:function, which returns a `Teacher` or a dict of its attributes.

    Raises:
        ValueError: If it cannot be loaded, or lacks one of the data's classes.
    """
    teacher = _open(source)
    known = [_entry(entry) for entry in teacher.classes]
    places = torch.tensor(_places(splits, known, source), device=device)
    module = teacher.module
    if isinstance(module, nn.Module):
        module.to(device)
        if not isinstance(module, GraphModule):  # an exported program refuses, and needs none
            module.eval()
    shown = (teacher.mean, teacher.std, mean, std)
    its_mean, its_std, own_mean, own_std = (
        torch.tensor([float(value) for value in values], device=device).view(1, 3, 1, 1) for values in shown
    )

    @torch.no_grad()
    def answer(x: Tensor) -> Tensor:
        images = x.float() * own_std + own_mean
        side = teacher.resolution or x.shape[-1]
        if x.shape[-1] != side:
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=side < x.shape[-1])
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
            output = module((images - its_mean) / its_std)
        return getattr(output, "logits", output).float()  # type: ignore[no-any-return]

    _try(answer, source, len(known), teacher.resolution or 64, device)
    return lambda x: answer(x)[:, places]


def _open(source: str) -> Teacher:
    path = Path(source)
    if names_function(source):
        made = call_function(source)
        return made if isinstance(made, Teacher) else _own(made, source) or _from_mapping(made, source)
    if path.suffix == ".pt2":
        return _exported(path)
    if path.suffix in RUNNERS:
        return _converted(path)
    return _checkpoint(path)


def _own(made: Any, source: str) -> Teacher | None:
    """Return a network of the user's own as a teacher, for what it says and does not say as everywhere; else None."""
    module = made.get("module") if isinstance(made, Mapping) else made
    says_all = isinstance(made, Mapping) and {"module", "classes", "mean", "std"} <= made.keys()
    own = find_network(source)
    if says_all or own is None or not isinstance(module, nn.Module):
        return None
    network = load_network(own)
    preprocess = network.preprocess
    height, width = preprocess.size
    if height != width:
        raise ValueError(f"teacher {source} takes {height} x {width} pixels; a teacher is shown squares")
    return Teacher(
        module=network.module, classes=network.classes, mean=preprocess.mean, std=preprocess.std, resolution=height
    )


def _from_mapping(made: Any, source: str) -> Teacher:
    if not isinstance(made, Mapping):
        raise ValueError(f"teacher {source} returns {type(made).__name__}; return a dict with module, {_WHAT}")
    missing = {"module", "classes", "mean", "std"} - made.keys()
    unknown = made.keys() - {"module", "classes", "mean", "std", "resolution"}
    if missing or unknown:
        wrong = f"lacks {', '.join(sorted(missing))}" if missing else f"has unknown {', '.join(sorted(unknown))}"
        raise ValueError(f"teacher {source} {wrong}; its dict takes module, {_WHAT}")
    return Teacher(**made)


def _exported(path: Path) -> Teacher:
    files = {INFO_FILE: ""}
    try:
        zipfile.ZipFile(path).close()  # torch reports at length on what is none
        program = torch.export.load(path, extra_files=files)
    except (RuntimeError, OSError, ValueError, LookupError, AssertionError, zipfile.BadZipFile) as e:
        raise ValueError(
            f"teacher {path} is no exported program, or a damaged one; save it with torch.export.save"
        ) from e
    try:
        info = json.loads(files[INFO_FILE])
    except (ValueError, RecursionError) as e:
        raise ValueError(
            f"teacher {path} does not say what it takes; save it with extra_files={{{INFO_FILE!r}: JSON of {_WHAT}}}"
        ) from e
    return _from_mapping({"module": program.module(), **info} if isinstance(info, dict) else info, str(path))


def _converted(path: Path) -> Teacher:
    manifest = check_artefact(path)
    artefact = load_artefact(manifest, path, threads=torch.get_num_threads())
    step = manifest.input.shape[0]

    def run(pixels: Tensor) -> Tensor:
        images = pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        assert step == 1 or len(images) % step == 0
        return torch.from_numpy(artefact.run(images)).to(pixels.device)

    classes = [{"id": label.id, "name": label.name} for label in manifest.classes]
    return Teacher(module=run, classes=classes, mean=(0, 0, 0), std=(1 / 255,) * 3, resolution=manifest.input.height)


def _checkpoint(path: Path) -> Teacher:
    checkpoint = Checkpoint(path)
    metadata = checkpoint.metadata
    if "model" not in metadata or "classes" not in metadata:
        raise ValueError(
            f"teacher {path} is no checkpoint of edge_vit.train, so its classes and its normalisation are not known; "
            "give package.module:function, which says them"
        )
    side = metadata["resolution"]
    model, _ = load_model(metadata["model"], checkpoint, len(metadata["classes"]), side)
    return Teacher(module=fuse(model.eval()), classes=metadata["classes"], resolution=side)


def _entry(entry: Any) -> SimpleNamespace:
    if isinstance(entry, Mapping):
        return SimpleNamespace(id=str(entry.get("id", entry.get("name"))), name=str(entry.get("name", entry.get("id"))))
    return SimpleNamespace(id=str(entry), name=str(entry))


def _places(splits: Splits, known: Sequence[SimpleNamespace], source: str) -> tuple[int, ...]:
    """Return which of the teacher's logits belongs to each class of the data."""
    names = {entry["id"]: entry["name"] for entry in splits.classes}
    try:
        return match_classes(splits.train.folders, known, names)
    except ValueError as e:
        reason = str(e).replace("the artefact", "the teacher")
        raise ValueError(f"teacher {source} does not know the classes of {splits.train.root}: {reason}") from e


def _try(answer: Callable[[Tensor], Tensor], source: str, num_classes: int, side: int, device: torch.device) -> None:
    """Let a teacher answer once, so that one that cannot is found before anything is learnt."""
    try:
        shape = tuple(answer(torch.zeros(2, 3, side, side, device=device)).shape)
        if shape != (2, num_classes):
            raise ValueError(f"it answers {list(shape)}")
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError) as e:
        reason = first_line(e)
        raise ValueError(
            f"teacher {source} does not answer two images of {side} pixels with {num_classes} logits each ({reason}); "
            "a program must be exported with a dynamic batch"
        ) from e
