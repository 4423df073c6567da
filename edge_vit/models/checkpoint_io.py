"""Read and write checkpoint files without ever running what is inside them.

A file is opened once. What can be said of it without torch is said at once: that it is there and whole. Its tensors and
its digest come from the same bytes, when they are asked for.
"""

import argparse
import hashlib
import json
import math
import mmap
import os
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_vit.models.safetensors_header import Entry, Header, read_header
from edge_vit.models.wrappers import unwrap

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "edge_vit"
_NO_TORCH_FILE = "it is no file that torch.save wrote"


class Checkpoint:
    """A .safetensors, .npz or torch file that was opened once.

    Attributes:
        path: Where it lies.
        metadata: This project's metadata; {} in foreign files.
        entries: Type and shape of every tensor of a .safetensors file; {} for other files.
        described: What is known of a foreign file from elsewhere, under the names that metadata has.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, takes_raw: bool = False, described: Mapping[str, Any] | None = None
    ) -> None:
        """Open a file and check what needs no torch.

        Args:
            takes_raw: Where it holds raw and averaged weights, take the raw ones in place of the average.
            described: As the attribute; None for nothing.

        Raises:
            ValueError: If the file is missing, empty, truncated or not a checkpoint.
        """
        self.path, self._takes_raw, self.described = Path(path), takes_raw, dict(described or {})
        if not self.path.is_file():
            allowed = "give the path of a .safetensors, .npz, .pth or .pt file"
            raise ValueError(f"checkpoint {self.path} does not exist; {allowed}")
        if self.path.stat().st_size == 0:
            raise ValueError(f"checkpoint {self.path} is empty; download or train it again")
        try:
            with self.path.open("rb") as file:
                # Private pages: torch wants memory that it may write, and nothing is ever written to the file.
                self._content = _Content(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as e:
            raise ValueError(f"checkpoint {self.path} cannot be read: {e.strerror or e}") from e
        self._header = self._check()
        self.metadata = self._read_metadata()

    @property
    def entries(self) -> dict[str, Entry]:
        return self._header.entries

    @cached_property
    def sha256(self) -> str:
        """The hex SHA-256 of the file."""
        return hashlib.sha256(self._content).hexdigest()

    @property
    def classes(self) -> list[dict[str, str]] | None:
        """[{"id": ..., "name": ...}] in the order of the logits; None where nothing names them."""
        return self.metadata.get("classes") or self.described.get("classes")

    @property
    def tensors(self) -> dict[str, "Tensor"]:
        """A flat state dict, without what trainers wrap one in.

        Raises:
            ValueError: If the file is damaged, holds no tensors, or is a pickle that wants more than tensors.
        """
        return self._unwrapped[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """How the state dict was found in the file, line by line; raises as `tensors`."""
        return self._unwrapped[1]

    def require_model(self, name: str) -> None:
        """Raise ValueError if this project wrote the file for another variant."""
        if self.metadata.get("model", name) != name:
            hint = "name that model, or give another checkpoint"
            raise ValueError(f"checkpoint {self.path} is for {self.metadata['model']}, not {name}; {hint}")

    def _check(self) -> Header:
        """Check what needs no torch; return the header of a .safetensors file, else an empty one."""
        nothing = Header(entries={}, metadata={})
        if self.path.suffix == ".safetensors":
            try:
                return read_header(self._content)
            except ValueError as e:
                why = f"is truncated or no safetensors file ({e})"
                raise ValueError(f"checkpoint {self.path} {why}; get it again") from e
        if self._content[:4] == b"PK\x03\x04":
            try:
                zipfile.ZipFile(self._content).close()  # type: ignore[call-overload]
            except (zipfile.BadZipFile, OSError, ValueError) as e:
                raise ValueError(f"checkpoint {self.path} is truncated ({e}); get it again") from e
        elif self.path.suffix == ".npz":
            raise ValueError(f"checkpoint {self.path} is truncated or no .npz file; get it again")
        elif self._content[:1] != b"\x80":  # neither a zip archive nor a pickle
            raise ValueError(_refused(self.path, _NO_TORCH_FILE))
        return nothing

    def _read_metadata(self) -> dict[str, Any]:
        try:
            metadata = json.loads(self._header.metadata.get(METADATA_KEY, "{}"))
        except (ValueError, TypeError, RecursionError) as e:
            raise ValueError(f"checkpoint {self.path} has {METADATA_KEY} metadata that is no JSON; get it again") from e
        if not isinstance(metadata, dict):
            kind = type(metadata).__name__
            raise ValueError(f"checkpoint {self.path} has {kind} as {METADATA_KEY} metadata; allowed: a dict")
        return metadata

    @cached_property
    def _unwrapped(self) -> tuple[dict[str, "Tensor"], tuple[str, ...]]:
        from torch import Tensor

        self._content.seek(0)
        if self.path.suffix == ".safetensors":
            content: Any = {name: _tensor(self._content, entry) for name, entry in self.entries.items()}
        else:
            content = (_read_npz if self.path.suffix == ".npz" else _read_torch)(self.path, self._content)
        if self.metadata:  # ours, whose names are as they should be
            return content, ()
        if not isinstance(content, Mapping) or not content:
            raise ValueError(f"checkpoint {self.path} holds {type(content).__name__}; allowed: a dict of tensors")
        try:
            found = unwrap(content, lambda value: isinstance(value, Tensor), takes_raw=self._takes_raw)
        except ValueError as e:
            raise ValueError(f"checkpoint {self.path}: {e}") from e
        return found.tensors, tuple(f"{self.path}: {note}" for note in found.notes)


class _Content(mmap.mmap):
    """A file's bytes, read as they are needed, as a buffer and as a file that was opened."""

    def seekable(self) -> Literal[True]:  # zipfile asks; Python 3.13 has it
        return True


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Return the tensors of a .safetensors, .npz or torch file, and this project's metadata ({} in foreign files).

    How a state dict was found in what a trainer saved is written to stderr.

    Raises:
        ValueError: If the file is missing, empty, truncated, not a checkpoint, or a pickle that
            wants more than tensors.
    """
    checkpoint = Checkpoint(path)
    for note in checkpoint.notes:
        print(note, file=sys.stderr)
    return checkpoint.tensors, checkpoint.metadata


def write_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, "Tensor"], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON metadata as one .safetensors file, whole or not at all.

    Raises:
        ValueError: If the folder cannot be made or written, or is full; what was there stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from converters.result import written_whole

    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    described = {METADATA_KEY: json.dumps(metadata)}
    with written_whole(Path(path)) as temporary:
        try:
            save_file(contiguous, temporary, metadata=described)
        except SafetensorError as e:  # which hides the system's error
            raise ValueError(f"cannot write {path}: {e}; free space or choose another folder") from e


def _tensor(content: _Content, entry: Entry) -> "Tensor":
    import torch

    kinds = {
        "BOOL": torch.bool, "I8": torch.int8, "U8": torch.uint8, "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2, "I16": torch.int16, "U16": torch.uint16, "F16": torch.float16,
        "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32, "I64": torch.int64,
        "U64": torch.uint64, "F64": torch.float64,
    }  # fmt: skip
    count = math.prod(entry.shape)
    if not count:
        return torch.empty(entry.shape, dtype=kinds[entry.dtype])
    return torch.frombuffer(content, dtype=kinds[entry.dtype], count=count, offset=entry.start).view(entry.shape)


def _read_npz(path: Path, content: _Content) -> dict[str, "Tensor"]:
    import numpy as np
    import torch

    try:
        with np.load(content, allow_pickle=False) as file:  # type: ignore[arg-type]
            return {key: torch.from_numpy(file[key]) for key in file.files}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, EOFError) as e:
        raise ValueError(f"checkpoint {path} is truncated, no .npz file, or holds objects ({e}); get it again") from e


def _read_torch(path: Path, content: _Content) -> Any:
    import torch
    from torch.serialization import safe_globals

    # Trainers built on timm store their command line beside the weights, as a Namespace: an empty class, nothing runs.
    try:
        with safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on foreign pickle protocols; what comes of them is said below
            return torch.load(content, map_location="cpu", weights_only=True)  # type: ignore[arg-type]
    except pickle.UnpicklingError as e:
        wanted = re.search(r"(?:GLOBAL|global:) (?!GLOBAL)([\w.]+)", str(e))
        reason = f"its pickle wants {wanted[1]}, more than tensors" if wanted else _NO_TORCH_FILE
        raise ValueError(_refused(path, reason)) from e
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError, IndexError) as e:
        raise ValueError(f"checkpoint {path} is truncated or no torch file; get it again") from e


def _refused(path: Path, reason: str) -> str:
    hint = "where you trust it, load it and save its state dict as .safetensors"
    return f"checkpoint {path} is refused: {reason}; {hint}"
