"""The weights that the models' authors published: where they lie, what is known of each file, and how to get one.

Sources: the model tables in the README of facebookresearch/LeViT, of microsoft/Cream (EfficientViT/classification) and
of NVlabs/FasterViT. Nobody publishes whole checksums. LeViT's file names carry the first eight hex digits of their
SHA-256; for the other files the SHA-256 of the first download is recorded beside the file and holds from then on.
"""

import contextlib
import hashlib
import http.client
import os
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

from converters.cache import cache_folder
from converters.checksum import sha256_file

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
    """

    url: str
    licence: str
    sha256_prefix: str = ""
    size_bytes: int | None = None

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[1]


def _levit(file: str, size_bytes: int | None = None) -> PublishedWeights:
    prefix = file.rsplit("-", 1)[1].removesuffix(".pth")
    url = f"https://dl.fbaipublicfiles.com/LeViT/{file}"
    return PublishedWeights(url=url, licence=LICENCES["levit"], sha256_prefix=prefix, size_bytes=size_bytes)


def _efficientvit(file: str) -> PublishedWeights:
    url = f"https://github.com/xinyuliu-jeffrey/EfficientViT_Model_Zoo/releases/download/v1.0/{file}"
    return PublishedWeights(url=url, licence=LICENCES["efficientvit"])


def _fastervit(file: str) -> PublishedWeights:
    url = f"https://huggingface.co/ahatamiz/FasterViT/resolve/main/{file}"
    return PublishedWeights(url=url, licence=LICENCES["fastervit"])


PUBLISHED: dict[str, PublishedWeights] = {
    "levit_128s": _levit("LeViT-128S-96703c44.pth", size_bytes=32_152_063),
    "levit_128": _levit("LeViT-128-b88c2750.pth"),
    "levit_192": _levit("LeViT-192-92712e41.pth"),
    "levit_256": _levit("LeViT-256-13b5763e.pth"),
    "levit_384": _levit("LeViT-384-9bdaf2e2.pth"),
    **{f"efficientvit_m{i}": _efficientvit(f"efficientvit_m{i}.pth") for i in range(6)},
    **{f"fastervit_{i}": _fastervit(f"fastervit_{i}_224_1k.pth.tar") for i in range(7)},
    # The any-resolution networks have the same weights.
    **{f"fastervit_{i}_any_res": _fastervit(f"fastervit_{i}_224_1k.pth.tar") for i in range(7)},
    "fastervit_4_21k_224": _fastervit("fastervit_4_21k_224_w14.pth.tar"),
    "fastervit_4_21k_384": _fastervit("fastervit_4_21k_384_w24.pth.tar"),
    "fastervit_4_21k_512": _fastervit("fastervit_4_21k_512_w32.pth.tar"),
    "fastervit_4_21k_768": _fastervit("fastervit_4_21k_768_w48.pth.tar"),
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


def download_weights(
    name: str, folder: Path | None = None, progress: TextIO | Literal["stderr"] | None = "stderr"
) -> Path:
    """Return the path of the weights published for `name`, downloaded when not there yet, and verified either way.

    Args:
        folder: Where files are kept; `cache_folder()` when None.
        progress: Where source, licence and progress are written; None for silence.

    Raises:
        ValueError: If there are none, they cannot be reached, are not what was published, or cannot be written.
    """
    progress = sys.stderr if progress == "stderr" else progress
    weights = published_weights(name)
    folder = cache_folder(folder)
    path = folder / weights.filename
    _write(progress, f"{name}: {weights.url} (licence: {weights.licence})\n")
    if path.is_file():
        digest = sha256_file(path)
        fault = _fault(weights, path.stat().st_size, digest, _recorded(path))
        if not fault:
            _record(path, digest, progress)
            return path
        _write(progress, f"{path} {fault}; downloading it again\n")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
    except OSError as e:
        raise ValueError(f"cannot write to {folder}: {e.strerror}; set EDGE_VIT_CACHE to another folder") from e
    try:
        with os.fdopen(handle, "wb") as file:
            num_bytes, digest = _fetch(name, weights, file, progress)
        fault = _fault(weights, num_bytes, digest, _recorded(path))
        if fault:
            raise ValueError(f"{weights.url} {fault}; nothing was kept, try again or give a checkpoint's path")
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    _record(path, digest, progress)
    return path


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
        raise ValueError(f"cannot download weights for {name}: {weights.url} answers {e.code} {e.reason}") from e
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as e:
        reason = getattr(e, "reason", None) or e
        raise ValueError(
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
        raise ValueError(f"download of {weights.url} broke off after {num_bytes} of {total} bytes; try again")
    return num_bytes, digest.hexdigest()


def _fault(weights: PublishedWeights, num_bytes: int, digest: str, recorded: str) -> str:
    """Return what is wrong with a file, "" if nothing."""
    if weights.size_bytes is not None and num_bytes != weights.size_bytes:
        return f"has {num_bytes} bytes, {weights.size_bytes} were published"
    if not digest.startswith(weights.sha256_prefix):
        return f"has SHA-256 {digest[:16]}..., {weights.sha256_prefix}... was published"
    if recorded and digest != recorded:
        return f"has SHA-256 {digest[:16]}..., the first download had {recorded[:16]}..."
    return ""


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _record(path: Path, digest: str, progress: TextIO | None) -> None:
    """Write a file's SHA-256 beside it, once; a folder that cannot be written keeps none."""
    if not _recorded(path):
        with contextlib.suppress(OSError):
            _record_path(path).write_text(f"{digest}  {path.name}\n")
        _write(progress, f"{path.name}: SHA-256 {digest}\n")


def _recorded(path: Path) -> str:
    """Return the SHA-256 recorded at the first download, "" if there was none."""
    record = _record_path(path)
    words = record.read_text().split() if record.is_file() else []
    return words[0] if words else ""


def _write(progress: TextIO | None, text: str) -> None:
    if progress is not None and text:
        progress.write(text)
        progress.flush()
