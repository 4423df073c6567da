"""Which weights a command uses: embedded, published, random, a file's, a repository's. Finding them needs no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from edge_vit.models.checkpoint_io import Checkpoint
from edge_vit.models.hugging_face import HUB_PREFIX, describe, fetch, parse_hub_file, weights_in
from edge_vit.models.published import PUBLISHED, default_resolution, download_weights, find_published

CHECKPOINT_FOLDER = Path(__file__).parent.parent / "checkpoints"
EMBEDDED_PREFIX = "embedded:"
RAW_PREFIX = "raw:"
CHOICES = (
    "auto (embedded, else published), embedded, imagenet (published), random, hf:ORG/NAME, or the path of a checkpoint "
    "or of a Hugging Face folder"
)
SCALE_SUFFIX = ".int8_scale"  # of the scales beside int8 weights


@dataclass(frozen=True, kw_only=True)  # without slots, for the property that is found once
class WeightsSource:
    """Chosen weights.

    Attributes:
        label: What to print and to record: "embedded:NAME", an address, "hf:ORG/NAME@COMMIT:FILE", an absolute path,
            "raw:" before one of these two, or "random". `recorded_weights` finds the weights again.
        form: "training" (float, training form), "int8" (quantized, with ranges) or "random".
        checkpoint: The file, opened; None for random weights, and for those that the user's function gives.
        digest: Of the latter.
    """

    label: str
    form: Literal["training", "int8", "random"]
    checkpoint: Checkpoint | None = None
    digest: str | None = None

    @property
    def path(self) -> Path | None:
        return None if self.checkpoint is None else self.checkpoint.path

    @property
    def metadata(self) -> dict[str, Any]:
        """This project's metadata; of foreign files what else is known: "classes", "resolution", or nothing."""
        return {} if self.checkpoint is None else self.checkpoint.described | self.checkpoint.metadata

    @property
    def sha256(self) -> str | None:
        """The digest of the file, or of what the user's function gives; None for random weights."""
        return self.digest if self.checkpoint is None else self.checkpoint.sha256

    @property
    def name(self) -> str:
        """The label without the folders that a path leads through."""
        is_path = self.path is not None and os.path.isabs(self.label.removeprefix(RAW_PREFIX))
        return self.path.name if self.path is not None and is_path else self.label

    def resolution_for(self, name: str, wanted: int | None) -> int:
        """Return the side in pixels at which variant `name` is converted with these weights, `wanted` if that is given.

        Raises:
            ValueError: If ranges were found at another one.
        """
        made_for = self.metadata.get("resolution", default_resolution(name))
        if self.form == "int8" and wanted not in (None, made_for):
            raise ValueError(
                f"{self.label} was quantized at resolution {made_for}, not {wanted}; leave --resolution out, "
                f"or calibrate the float weights with --weights {self.metadata.get('float_file', 'PATH')} --calib DIR"
            )
        return made_for if wanted is None else wanted

    @property
    def float_source(self) -> "WeightsSource":
        """The float checkpoint that a quantized one started from, which lies beside it; for others they themselves.

        A quantized one alone is no network: it lacks the tables that attention adds to its scores.

        Raises:
            ValueError: If it is not there, or damaged.
        """
        return self._beside if self.form == "int8" else self

    @cached_property
    def _beside(self) -> "WeightsSource":
        assert self.path is not None
        name = self.metadata.get("float_file", "")
        path = self.path.parent / name
        if not name or not path.is_file():
            missing = f"{name}, is not beside it" if name else "is not named in it"
            raise ValueError(f"{self.label} needs the float checkpoint that it came from, which {missing}")
        label = f"{EMBEDDED_PREFIX}{name}" if self.label.startswith(EMBEDDED_PREFIX) else os.path.abspath(path)
        return _opened(path, label)


def embedded_path(name: str, is_quantized: bool) -> Path:
    """Return where the repository's own checkpoint of a variant would lie."""
    return CHECKPOINT_FOLDER / f"{name}_{'int8' if is_quantized else 'float'}.safetensors"


def find_weights(
    name: str, choice: str, prefer_quantized: bool, *, takes_raw: bool = False, takes_siblings: bool = False
) -> WeightsSource:
    """Find the weights of variant `name` and open their file.

    Args:
        choice: "auto" (the repository's own, else the published ones), "embedded" (the repository's own), "imagenet"
            (the published ones), "random", "hf:ORG/NAME" with "@REVISION" or ":FILE" where wanted, or the path of a
            checkpoint or of a folder in Hugging Face's form.
        prefer_quantized: With "auto" and "embedded", take the quantized checkpoint if there is one.
        takes_raw: Of a file that holds raw and averaged weights, take the raw ones.
        takes_siblings: Take a file that was written for another variant too, as training from a variant of the same
            shapes does; whether it fits is seen when it is loaded.

    Raises:
        ValueError: If there are none, they cannot be reached, are damaged, or belong to another variant.
        ImportError: If a repository is named and huggingface_hub is not installed.
    """
    if choice not in ("auto", "embedded", "imagenet", "random"):
        path, label = _located(choice)
        described = describe(path, name, takes_siblings=takes_siblings)
        source = _opened(path, label, takes_raw, described)
        return source if takes_siblings else _for_variant(name, source)
    if takes_raw:
        raise ValueError("--raw-weights chooses between two sets of weights in a file; name it with --weights PATH")
    if choice == "random":
        return WeightsSource(label="random", form="random")
    if choice in ("auto", "embedded"):
        for is_quantized in (True, False) if prefer_quantized else (False,):
            path = embedded_path(name, is_quantized)
            if path.is_file():
                return _for_variant(name, _opened(path, f"{EMBEDDED_PREFIX}{path.name}"))
    if choice == "embedded":
        there = [path.name.removesuffix("_float.safetensors") for path in CHECKPOINT_FOLDER.glob("*_float.safetensors")]
        raise ValueError(f"{name} has no embedded weights, {', '.join(sorted(there))} have; use another of {CHOICES}")
    if name not in PUBLISHED:
        raise ValueError(f"{name} has no embedded and no published weights; use --weights PATH or --weights random")
    checkpoint, label = find_published(name)
    return WeightsSource(label=label, form="training", checkpoint=checkpoint)


def open_weights(choice: str, *, takes_raw: bool = False) -> WeightsSource:
    """Open the checkpoint of a network that is no variant: a path, or "hf:ORG/NAME" as in `find_weights`.

    Raises:
        ValueError: If there is none, it cannot be reached or is damaged.
        ImportError: If a repository is named and huggingface_hub is not installed.
    """
    path, label = _located(choice)
    return _opened(path, label, takes_raw)


def _located(choice: str) -> tuple[Path, str]:
    """Return the file that a choice names, and its label."""
    if choice.startswith(HUB_PREFIX):
        return fetch(parse_hub_file(choice))
    path = Path(choice)
    if not path.exists():
        raise ValueError(f"checkpoint {path} does not exist; choose from {CHOICES}")
    if path.is_dir():
        path = weights_in(path)
    return path, os.path.abspath(path)


def recorded_weights(label: str, folder: Path) -> WeightsSource:
    """Return the weights that a manifest names.

    Args:
        label: As `WeightsSource.label` was.
        folder: Where the manifest lies. A path is looked for where it was recorded, then, since files travel together,
            by its name in this folder.

    Raises:
        ValueError: If they are not there any more, or are damaged.
    """
    for name, weights in PUBLISHED.items():
        if label == weights.url:
            return WeightsSource(label=label, form="training", checkpoint=download_weights(name))
    if label.removeprefix(RAW_PREFIX).startswith(HUB_PREFIX):
        return _opened(fetch(parse_hub_file(label.removeprefix(RAW_PREFIX)))[0], label, label.startswith(RAW_PREFIX))
    if label.startswith(EMBEDDED_PREFIX):
        recorded = CHECKPOINT_FOLDER / label.removeprefix(EMBEDDED_PREFIX)
    else:
        recorded = Path(label.removeprefix(RAW_PREFIX))
    places = [path for path in (recorded, folder / recorded.name) if path.is_file()]
    if not places:
        raise ValueError(f"the float weights {label} are not here; give a float artefact with --float")
    return _opened(places[0], label, label.startswith(RAW_PREFIX))


def no_ranges(label: str) -> ValueError:
    """Return the error of float weights that are to become int8 without pictures to choose ranges from."""
    return ValueError(
        f"{label}: float weights carry no ranges; give calibration pictures with --calib DIR, "
        "or a checkpoint from `python -m edge_vit.train --qat`"
    )


def _opened(
    path: Path, label: str, takes_raw: bool = False, described: Mapping[str, Any] | None = None
) -> WeightsSource:
    checkpoint = Checkpoint(path, takes_raw=takes_raw, described=described)
    form = checkpoint.metadata.get("form", "training")
    if form not in ("training", "int8"):
        raise ValueError(f"checkpoint {path} has form {form!r}; this version knows training and int8")
    if form == "int8":
        _check_quantized(checkpoint)
    is_raw = takes_raw and not label.startswith(RAW_PREFIX)
    return WeightsSource(label=f"{RAW_PREFIX}{label}" if is_raw else label, form=form, checkpoint=checkpoint)


def _for_variant(name: str, source: WeightsSource) -> WeightsSource:
    assert source.checkpoint is not None
    source.checkpoint.require_model(name)
    return source


def _check_quantized(checkpoint: Checkpoint) -> None:
    """Raise ValueError if an integer weight lacks its scales, one an output channel, or there are no ranges."""
    entries = checkpoint.entries
    for name, entry in entries.items():
        scale = entries.get(name + SCALE_SUFFIX)
        if entry.dtype == "I8" and (scale is None or scale.shape != entry.shape[:1]):
            raise ValueError(f"checkpoint {checkpoint.path} lacks {name}{SCALE_SUFFIX}; it is damaged, get it again")
    if not isinstance(checkpoint.metadata.get("ranges"), dict):
        raise ValueError(f"checkpoint {checkpoint.path} has no ranges; it is damaged, train or calibrate it again")
