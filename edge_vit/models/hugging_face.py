"""Weights as Hugging Face keeps them: a repository on the Hub, or a folder, with a config.json beside the weights.

huggingface_hub fetches files: cache, resume, HF_HUB_OFFLINE, HF_ENDPOINT and tokens follow its rules. config.json is
read as data, without torch; nothing that a repository holds is run.
"""

import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.first_line import first_line
from edge_vit.models.imagenet import imagenet_classes, is_imagenet

HUB_PREFIX = "hf:"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # the first that is there is taken
CONFIG_FILE = "config.json"
PROCESSOR_FILE = "preprocessor_config.json"  # transformers': how pictures are resized and normalised
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_FORMS = "hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:FILE"
_HUB_FILE = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([^@:]+))?(?::([^:]+))?")
# What transformers' LevitConfig says of each variant; tests/models/test_hugging_face.py holds it equal to the registry.
_LEVIT_SIZES: dict[str, dict[str, list[int]]] = {
    name: {"hidden_sizes": widths, "depths": depths, "num_attention_heads": heads, "key_dim": [key_dim] * 3}
    for name, widths, depths, heads, key_dim in (
        ("levit_128s", [128, 256, 384], [2, 3, 4], [4, 6, 8], 16),
        ("levit_128", [128, 256, 384], [4, 4, 4], [4, 8, 12], 16),
        ("levit_192", [192, 288, 384], [4, 4, 4], [3, 5, 6], 32),
        ("levit_256", [256, 384, 512], [4, 4, 4], [4, 6, 8], 32),
        ("levit_384", [384, 512, 768], [4, 4, 4], [6, 9, 12], 32),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository on the Hub; `revision` and `file` may be left open."""

    repo: str
    revision: str | None
    file: str | None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB_PREFIX}{self.repo}{revision}" + (f":{self.file}" if self.file else "")


def parse_hub_file(text: str) -> HubFile:
    """Return what "hf:ORG/NAME@REVISION:FILE" names.

    Raises:
        ValueError: If it has another form.
    """
    match = _HUB_FILE.fullmatch(text)
    if match is None:
        raise ValueError(f"weights {text!r} are not allowed; use {_FORMS}")
    return HubFile(repo=match[1], revision=match[2], file=match[3])


def fetch(wanted: HubFile) -> tuple[Path, str]:
    """Return where huggingface_hub keeps a repository's weights, and the label that names this very file.

    A config.json and a preprocessor_config.json beside them are fetched with them.

    Raises:
        ValueError: If the repository, the revision or the file is not there, or cannot be had.
        ImportError: If huggingface_hub is not installed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ImportError(f"{wanted} needs huggingface_hub; pip install 'edge_vit[hub]'", name="huggingface_hub")
    names = (wanted.file,) if wanted.file else WEIGHT_FILES
    for name in names:
        if (path := _download(wanted, name)) is not None:
            break
    else:
        raise ValueError(f"{wanted} has no {' and no '.join(names)}; name a file of it with hf:ORG/NAME:FILE")
    if path.name in WEIGHT_FILES:
        _download(wanted, (Path(name).parent / CONFIG_FILE).as_posix())
        try:
            _download(wanted, (Path(name).parent / PROCESSOR_FILE).as_posix())
        except ValueError as e:  # offline, and not among what was fetched before
            print(f"{e}; pictures are prepared as the variant's authors do", file=sys.stderr)
    commit = path.parts[path.parts.index("snapshots") + 1]
    return path, str(HubFile(repo=wanted.repo, revision=commit, file=name))


def _download(wanted: HubFile, name: str) -> Path | None:
    """Return the path of a file in huggingface_hub's cache; None where the repository has none of that name."""
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache

    repo, revision = wanted.repo, wanted.revision
    try:
        return Path(hf_hub_download(repo, name, revision=revision))
    except errors.LocalEntryNotFoundError as e:
        if try_to_load_from_cache(repo, name, revision=revision) is _CACHED_NO_EXIST:
            return None
        hint = "where it can be reached, run the same once, or give the path of a folder that has it"
        raise ValueError(f"{wanted}: {name} is not in huggingface_hub's cache and cannot be fetched; {hint}") from e
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as e:
        raise ValueError(f"{wanted} is gated; ask for access on its page, then run `hf auth login`") from e
    except errors.RepositoryNotFoundError as e:
        raise ValueError(f"{wanted}: no such repository, or a private one; check it, or run `hf auth login`") from e
    except errors.RevisionNotFoundError as e:
        raise ValueError(f"{wanted}: the repository has no revision {revision}; leave it out, or name another") from e
    except (errors.HTTPError, OSError, ValueError) as e:  # type: ignore[attr-defined]  # its HTTP package's own
        raise ValueError(f"{wanted}: {name} cannot be fetched ({first_line(e)}); try again, or give a path") from e


def weights_in(folder: Path) -> Path:
    """Return the weights in a folder that transformers or timm saved.

    Raises:
        ValueError: If there are none.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"{folder} is a folder without {CONFIG_FILE}; give a file, or a folder of Hugging Face's form")
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} has a {CONFIG_FILE} but neither {' nor '.join(WEIGHT_FILES)}; give the file's path")


def describe(path: Path, variant: str, *, takes_siblings: bool = False) -> dict[str, Any]:
    """Return what a config.json and a preprocessor_config.json beside weights say of them, as far as they do:
    "classes", "resolution", "crop_pct" and "interpolation".

    Args:
        takes_siblings: Accept sizes of another variant; whether its weights fit is seen when they are loaded.

    Raises:
        ValueError: If one is damaged, describes another variant than `variant`, or prepares pictures in a way that is
            not ours.
    """
    config_path = path.parent / CONFIG_FILE
    if path.name not in WEIGHT_FILES or not config_path.is_file():
        return {}
    config = _read(config_path)
    _check_variant(config, variant, config_path, takes_siblings)
    known: dict[str, Any] = {}
    if classes := _classes(config, config_path):
        known["classes"] = classes
    timm = config.get("pretrained_cfg")
    size = timm.get("input_size") if isinstance(timm, dict) else [config.get("image_size")]
    if isinstance(size, list) and size and isinstance(size[-1], int):  # timm's: channels, height, width
        known["resolution"] = size[-1]
    if isinstance(timm, dict):
        return known | _timm_preprocessing(timm, config_path)
    processor_path = path.parent / PROCESSOR_FILE
    return known | (_processor(_read(processor_path), processor_path) if processor_path.is_file() else {})


def _read(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds."""
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise ValueError(f"{path} is no JSON that can be read; get it again") from e
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds {type(config).__name__}; allowed: an object; get it again")
    return config


def _processor(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Return "resolution", "crop_pct" and "interpolation" as far as transformers' LevitImageProcessor has them."""
    _check_normalisation(config.get("image_mean"), config.get("image_std"), where)
    known: dict[str, Any] = {}
    size, crop = config.get("size"), config.get("crop_size")
    crop = crop.get("height") if isinstance(crop, dict) else crop
    shortest = size.get("shortest_edge") if isinstance(size, dict) else size
    if isinstance(crop, int) and isinstance(shortest, int) and config.get("do_center_crop", True):
        # It resizes the shorter side to 256 / 224 of what it says, and cuts the middle out.
        share = crop / int(256 / 224 * shortest) if shortest > 0 else 0.0
        if not 0.1 <= share <= 1.0:
            raise ValueError(f"{where}: crop_size {crop} of size {shortest} is not allowed; use a share of 0.1 to 1.0")
        known |= {"resolution": crop, "crop_pct": round(share, 4)}
    if (kind := config.get("resample")) is not None:
        if kind not in _RESAMPLE:
            raise ValueError(f"{where}: resample {kind!r} is not allowed; use 2 (bilinear) or 3 (bicubic)")
        known["interpolation"] = _RESAMPLE[kind]
    return known


def _check_normalisation(mean: Any, std: Any, where: Path) -> None:
    """Raise ValueError for weights whose pictures are normalised by others than ImageNet's mean and deviation."""
    from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD

    for name, value, ours in (("mean", mean, IMAGENET_MEAN), ("standard deviation", std, IMAGENET_STD)):
        if value is not None and not (isinstance(value, list) and len(value) == 3 and all(map(_is_close, value, ours))):
            raise ValueError(f"{where}: {name} {value} is not allowed; variants normalise by ImageNet's, {list(ours)}")


def _is_close(value: Any, ours: float) -> bool:
    return isinstance(value, (int, float)) and abs(value - ours) < 1e-3


def _timm_preprocessing(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Return "crop_pct" and "interpolation" as far as a timm configuration has them."""
    _check_normalisation(config.get("mean"), config.get("std"), where)
    known = {key: config[key] for key in ("crop_pct", "interpolation") if config.get(key) is not None}
    share, kind = known.get("crop_pct", 1.0), known.get("interpolation", "bicubic")
    if not isinstance(share, (int, float)) or not 0.1 <= share <= 1.0:
        raise ValueError(f"{where}: crop_pct {share!r} is not allowed; use 0.1 to 1.0")
    if kind not in ("bilinear", "bicubic"):
        raise ValueError(f"{where}: interpolation {kind!r} is not allowed; use bilinear or bicubic")
    return known


def _check_variant(config: Mapping[str, Any], variant: str, where: Path, takes_siblings: bool) -> None:
    """Raise ValueError if a configuration, transformers' or timm's, is not one of a classifier of this variant."""
    hint = "name that model, or give other weights"
    named = config.get("architecture")  # timm's
    if isinstance(named, str) and named.replace("levit_conv_", "levit_") != variant and not takes_siblings:
        raise ValueError(f"{where} describes {named}, not {variant}; {hint}")
    family, kind = variant.split("_")[0], config.get("model_type")
    if isinstance(kind, str) and kind != family:
        raise ValueError(f"{where} describes a model of type {kind}, {variant} needs {family}; {hint}")
    classes = config.get("architectures")
    if isinstance(classes, list) and classes and not any("ForImageClassification" in str(c) for c in classes):
        raise ValueError(f"{where} describes {classes[0]}, which has no head; give an image classifier")
    if kind != "levit" or takes_siblings:
        return
    fits = [name for name, sizes in _LEVIT_SIZES.items() if all(config.get(key) == sizes[key] for key in sizes)]
    if variant not in fits:
        sizes = ", ".join(f"{key} {config.get(key)}" for key in _LEVIT_SIZES["levit_128s"])
        raise ValueError(f"{where} describes {fits[0] if fits else sizes}, not {variant}; {hint}")


def _classes(config: Mapping[str, Any], where: Path) -> list[dict[str, str]]:
    """Return the classes that a configuration names, [] where it names none.

    ImageNet's have their synsets as ids. Else a label is the id too, but for labels that occur twice: these have their
    number.
    """
    labels = config.get("label_names", config.get("id2label"))  # timm's, transformers'
    if labels is None:
        return []
    if isinstance(labels, dict):
        numbers = [str(i) for i in range(len(labels))]
        if set(labels) != set(numbers):
            raise ValueError(f"{where}: id2label does not number its labels from 0 to {len(labels) - 1}; mend it")
        labels = [labels[number] for number in numbers]
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise ValueError(f"{where}: class names that are no text; allowed: id2label with one name for each number")
    if labels == [f"LABEL_{i}" for i in range(len(labels))]:  # what transformers writes where nobody named any
        return []
    if is_imagenet(labels):
        return imagenet_classes()
    described = config.get("label_descriptions")
    names = described if isinstance(described, dict) else {}
    times = Counter(labels)
    return [
        {"id": label if times[label] == 1 else str(i), "name": str(names.get(label, label))}
        for i, label in enumerate(labels)
    ]
