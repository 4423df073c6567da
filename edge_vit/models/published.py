"""The weights that the models' authors published: where they lie, what is known of each file, and how to get one.

Sources: the model tables in the README of facebookresearch/LeViT, of microsoft/Cream (EfficientViT/classification) and
of NVlabs/FasterViT. Nobody publishes whole checksums. LeViT's file names carry the first eight hex digits of their
SHA-256. The other files cannot be verified, which is said. A first download must fit its variant; then its SHA-256 is
recorded beside it, and from then on the file must stay the same. Where a host cannot be reached, a repository of the
Hugging Face Hub with the same weights is asked by huggingface_hub, under the same rules: timm's for LeViT and
EfficientViT (`default_cfgs` of timm/models/levit.py and efficientvit_msra.py), another file with timm's names, of which
no digest is known; for FasterViT the authors' own, which their host is.

How a variant was evaluated, `resolution`, `crop_pct` and `interpolation`, is its authors' too; the table names the
sources. All three resize by bicubic interpolation: facebookresearch/LeViT (datasets.py; LevitImageProcessor of
transformers the same), microsoft/Cream (EfficientViT/classification/data/datasets.py) and NVlabs/FasterViT (`_cfg`).
"""

import contextlib
import hashlib
import http.client
import os
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

from converters.cache import cache_folder
from edge_vit.models.checkpoint_io import Checkpoint
from edge_vit.models.hugging_face import HUB_PREFIX, fetch, parse_hub_file

LICENCES = {
    "levit": "Apache-2.0",
    "efficientvit": "MIT",
    "fastervit": "NVIDIA Source Code License-NC: NON-COMMERCIAL use only (research and evaluation)",
}
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedWeights:
    """One published file.

    Attributes:
        sha256_prefix: Leading hex digits of the SHA-256; "" where the authors give none.
        size_bytes: None where not known.
        resolution: Side in pixels of the pictures that the authors evaluated on.
        crop_pct: That side as a share of the shorter side of the resized picture that it was cropped from.
        interpolation: Of that resizing.
        mirror: A repository of the Hub with the same weights, as "hf:ORG/NAME" or with ":FILE".
    """

    url: str
    mirror: str
    licence: str
    resolution: int
    crop_pct: float
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    sha256_prefix: str = ""
    size_bytes: int | None = None

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[1]


# The shorter side becomes int(256 / 224 * resolution): facebookresearch/LeViT, datasets.py, and microsoft/Cream,
# EfficientViT/classification/data/datasets.py. (timm evaluates LeViT with 0.9.)
_RESIZED_CROP = 224 / 256
# Variant to resolution and crop_pct: NVlabs/FasterViT, `default_cfgs` of fastervit/models/faster_vit.py, and of
# faster_vit_any_res.py, whose weights are the same files. There the four 21k files also say crop_mode "squash", the
# whole picture pressed to a square; the repository's validate.py does not pass that on. Here pictures are cropped.
_FASTERVIT = {
    **{f"fastervit_{i}": (224, 0.875 if i == 0 else 1.0) for i in range(7)},
    "fastervit_4_21k_224": (224, 0.95),
    "fastervit_4_21k_384": (384, 1.0),
    "fastervit_4_21k_512": (512, 1.0),
    "fastervit_4_21k_768": (768, 0.93),
}


def _levit(name: str, file: str, size_bytes: int | None = None) -> PublishedWeights:
    return PublishedWeights(
        url=f"https://dl.fbaipublicfiles.com/LeViT/{file}",
        mirror=f"hf:timm/{name}.fb_dist_in1k",
        licence=LICENCES["levit"],
        resolution=224,
        crop_pct=_RESIZED_CROP,
        sha256_prefix=file.rsplit("-", 1)[1].removesuffix(".pth"),
        size_bytes=size_bytes,
    )


def _efficientvit(name: str) -> PublishedWeights:
    return PublishedWeights(
        url=f"https://github.com/xinyuliu-jeffrey/EfficientViT_Model_Zoo/releases/download/v1.0/{name}.pth",
        mirror=f"hf:timm/{name}.r224_in1k", licence=LICENCES["efficientvit"], resolution=224, crop_pct=_RESIZED_CROP,
    )  # fmt: skip


def _fastervit(name: str, file: str) -> PublishedWeights:
    resolution, crop_pct = _FASTERVIT[name]
    return PublishedWeights(
        url=f"https://huggingface.co/ahatamiz/FasterViT/resolve/main/{file}", mirror=f"hf:ahatamiz/FasterViT:{file}",
        licence=LICENCES["fastervit"], resolution=resolution, crop_pct=crop_pct,
    )  # fmt: skip


PUBLISHED: dict[str, PublishedWeights] = {
    "levit_128s": _levit("levit_128s", "LeViT-128S-96703c44.pth", size_bytes=32_152_063),
    "levit_128": _levit("levit_128", "LeViT-128-b88c2750.pth"),
    "levit_192": _levit("levit_192", "LeViT-192-92712e41.pth"),
    "levit_256": _levit("levit_256", "LeViT-256-13b5763e.pth"),
    "levit_384": _levit("levit_384", "LeViT-384-9bdaf2e2.pth"),
    **{f"efficientvit_m{i}": _efficientvit(f"efficientvit_m{i}") for i in range(6)},
    **{f"fastervit_{i}": _fastervit(f"fastervit_{i}", f"fastervit_{i}_224_1k.pth.tar") for i in range(7)},
    # The any-resolution networks have the same weights.
    **{f"fastervit_{i}_any_res": _fastervit(f"fastervit_{i}", f"fastervit_{i}_224_1k.pth.tar") for i in range(7)},
    "fastervit_4_21k_224": _fastervit("fastervit_4_21k_224", "fastervit_4_21k_224_w14.pth.tar"),
    "fastervit_4_21k_384": _fastervit("fastervit_4_21k_384", "fastervit_4_21k_384_w24.pth.tar"),
    "fastervit_4_21k_512": _fastervit("fastervit_4_21k_512", "fastervit_4_21k_512_w32.pth.tar"),
    "fastervit_4_21k_768": _fastervit("fastervit_4_21k_768", "fastervit_4_21k_768_w48.pth.tar"),
}


def published_weights(name: str) -> PublishedWeights:
    """Return what is known of the weights published for variant `name`.

    Raises:
        ValueError: If its authors published none.
    """
    if name not in PUBLISHED:
        raise ValueError(
            f"no weights are published for {name}; give a checkpoint's path, train one, or choose from "
            f"{', '.join(PUBLISHED)}"
        )
    return PUBLISHED[name]


def default_resolution(name: str) -> int:
    """Return the side in pixels at which variant `name` is converted where its weights name none."""
    return PUBLISHED[name].resolution if name in PUBLISHED else 224


class Unreachable(ValueError):
    """A host that does not answer, or answers no file."""


def is_published(name: str, label: str) -> bool:
    """Return whether a label of weights, as `find_published` gives them, is one of those published for a variant."""
    if name not in PUBLISHED:
        return False
    mirror = parse_hub_file(PUBLISHED[name].mirror)
    is_mirror = label.startswith(f"{HUB_PREFIX}{mirror.repo}@") and label.endswith(mirror.file or "")
    return is_mirror or label == PUBLISHED[name].url


def find_published(
    name: str, folder: Path | None = None, progress: TextIO | Literal["stderr"] | None = "stderr"
) -> tuple[Checkpoint, str]:
    """Return the weights published for `name` and their label: from their host, or where that fails from the mirror.

    Args:
        folder, progress: As of `download_weights`; huggingface_hub has its own cache and progress.

    Raises:
        ValueError: If neither can be reached, or what they give is not what was published or had before.
    """
    try:
        return download_weights(name, folder, progress), PUBLISHED[name].url
    except Unreachable as e:
        mirror = PUBLISHED[name].mirror
        progress = sys.stderr if progress == "stderr" else progress
        _write(progress, f"{e}; asking {mirror}\n")
        try:
            return _from_mirror(name, PUBLISHED[name], cache_folder(folder), progress)
        except (ValueError, ImportError) as other:
            raise ValueError(f"{e}; its mirror fails too: {other}") from other


def _from_mirror(name: str, weights: PublishedWeights, folder: Path, progress: TextIO | None) -> tuple[Checkpoint, str]:
    """Return a mirror's weights and their label; their SHA-256 is recorded where those of downloads are."""
    wanted = parse_hub_file(weights.mirror)
    path, label = fetch(wanted)
    checkpoint, record = Checkpoint(path), folder / weights.filename
    if path.name != weights.filename:  # the same weights, another file
        weights = replace(weights, sha256_prefix="", size_bytes=None)
        record = folder / f"{wanted.repo.replace('/', '--')}--{path.name}"
    try:
        _require(weights, path.stat().st_size, checkpoint.sha256, _recorded(record))
        _require_fit(name, record, checkpoint)
    except ValueError as e:
        raise ValueError(f"{label} {e}; give a checkpoint's path") from e
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    _record(weights, record, checkpoint.sha256, progress)
    return checkpoint, label


def download_weights(
    name: str, folder: Path | None = None, progress: TextIO | Literal["stderr"] | None = "stderr"
) -> Checkpoint:
    """Return the weights published for `name`, downloaded when not there yet, and checked as far as that can be.

    Args:
        folder: Where files are kept; `cache_folder()` when None.
        progress: Where source, licence and progress are written; None for silence.

    Raises:
        Unreachable: If their host cannot be reached, or has no such file.
        ValueError: If there are none, they are not what was published, or cannot be written.
    """
    progress = sys.stderr if progress == "stderr" else progress
    weights = published_weights(name)
    folder = cache_folder(folder)
    path = folder / weights.filename
    _write(progress, f"{name}: {weights.url} (licence: {weights.licence})\n")
    if path.is_file():
        try:
            checkpoint = Checkpoint(path)
            _require(weights, path.stat().st_size, checkpoint.sha256, _recorded(path))
            _require_fit(name, path, checkpoint)
            _record(weights, path, checkpoint.sha256, progress)
            return checkpoint
        except ValueError as e:
            _write(progress, f"{path}: {e}; downloading it again\n")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
    except OSError as e:
        raise ValueError(f"cannot write to {folder}: {e.strerror}; set EDGE_VIT_CACHE to another folder") from e
    try:
        with os.fdopen(handle, "wb") as file:
            num_bytes, digest = _fetch(name, weights, file, progress)
        try:
            _require(weights, num_bytes, digest, _recorded(path))
            checkpoint = Checkpoint(temporary)
            _require_fit(name, path, checkpoint)
        except ValueError as e:
            raise ValueError(f"{weights.url} {e}; nothing was kept, try again or give a checkpoint's path") from e
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    checkpoint.path = path
    _record(weights, path, digest, progress)
    return checkpoint


def _fetch(name: str, weights: PublishedWeights, file: BinaryIO, progress: TextIO | None) -> tuple[int, str]:
    """Copy the URL into `file`; return its size in bytes and its SHA-256."""
    digest, num_bytes = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(weights.url, timeout=_TIMEOUT_S) as response:
            total = int(response.headers.get("Content-Length") or weights.size_bytes or 0)
            for chunk in iter(lambda: response.read(_CHUNK_BYTES), b""):
                file.write(chunk)
                digest.update(chunk)
                num_bytes += len(chunk)
                share = f" of {total / 1e6:.1f} MB, {100 * num_bytes / total:3.0f}%" if total else " MB"
                _write(progress, f"\r{weights.filename}: {num_bytes / 1e6:.1f}{share}")
    except urllib.error.HTTPError as e:
        e.close()
        raise Unreachable(f"cannot download weights for {name}: {weights.url} answers {e.code} {e.reason}") from e
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as e:
        reason = getattr(e, "reason", None) or e
        raise Unreachable(
            f"cannot download weights for {name} from {weights.url} ({reason}); without internet, fetch the file "
            "elsewhere and give its path, or put it into the folder that EDGE_VIT_CACHE names"
        ) from e
    except OSError as e:
        raise ValueError(
            f"cannot write {weights.filename}: {e.strerror or e}; set EDGE_VIT_CACHE to a folder with room"
        ) from e
    finally:
        _write(progress, "\n" if num_bytes else "")
    if total and num_bytes != total:
        raise Unreachable(f"download of {weights.url} broke off after {num_bytes} of {total} bytes; try again")
    return num_bytes, digest.hexdigest()


def _require(weights: PublishedWeights, num_bytes: int, digest: str, recorded: str) -> None:
    """Raise ValueError if a file is not the one that was published or downloaded before."""
    if weights.size_bytes is not None and num_bytes != weights.size_bytes:
        raise ValueError(f"has {num_bytes} bytes, {weights.size_bytes} were published")
    if not digest.startswith(weights.sha256_prefix):
        raise ValueError(f"has SHA-256 {digest[:16]}..., {weights.sha256_prefix}... was published")
    if recorded and digest != recorded:
        raise ValueError(f"has SHA-256 {digest[:16]}..., the first download had {recorded[:16]}...")


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _require_fit(name: str, path: Path, checkpoint: Checkpoint) -> None:
    """Raise ValueError if a file that was never loaded before does not hold weights of variant `name`."""
    if not _recorded(path):
        from edge_vit.models.weights import require_fit

        require_fit(checkpoint.tensors, name)


def _record(weights: PublishedWeights, path: Path, digest: str, progress: TextIO | None) -> None:
    """Write a file's SHA-256 beside it, once, and say what was never verified."""
    never = "" if weights.sha256_prefix else "; its authors publish no checksum, so it was never verified"
    if not _recorded(path):
        with contextlib.suppress(OSError):  # a folder that cannot be written keeps no record
            _record_path(path).write_text(f"{digest}  {path.name}\n")
        _write(progress, f"{path.name}: SHA-256 {digest}{never}\n")
    elif never:
        _write(progress, f"{path.name}: the same file as when it was first downloaded{never}\n")


def _recorded(path: Path) -> str:
    """Return the SHA-256 recorded at the first download, "" if there was none."""
    record = _record_path(path)
    words = record.read_text().split() if record.is_file() else []
    return words[0] if words else ""


def _write(progress: TextIO | None, text: str) -> None:
    if progress is not None and text:
        progress.write(text)
        progress.flush()
