"""Read and write checkpoint files without ever running what is inside them."""

import argparse
import json
import os
import pickle
import re
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.serialization import safe_globals

METADATA_KEY = "edge_vit"
_NESTED_KEYS = ("model", "state_dict", "model_ema", "state_dict_ema")


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a .safetensors, .npz or torch file, and this project's metadata ({} in foreign files).

    Raises:
        ValueError: If the file is missing, empty, truncated, not a checkpoint, or a pickle that
            wants more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist; give the path of a .safetensors, .npz, .pth or .pt file")
    if path.stat().st_size == 0:
        raise ValueError(f"checkpoint {path} is empty; download or train it again")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".npz":
        return _read_npz(path), {}
    return _read_torch(path), {}


def write_checkpoint(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata as one .safetensors file, under a temporary name first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(contiguous, temporary, metadata={METADATA_KEY: json.dumps(metadata)})
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError) as e:
        raise ValueError(f"checkpoint {path} is truncated or no safetensors file ({e}); get it again") from e
    if not isinstance(metadata, dict):
        raise ValueError(f"checkpoint {path} has {type(metadata).__name__} as {METADATA_KEY} metadata; allowed: a dict")
    return tensors, metadata


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        # Opened here, because numpy leaves its own handle open when the archive is broken.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as e:
        raise ValueError(f"checkpoint {path} is truncated, no .npz file, or holds objects ({e}); get it again") from e


def _read_torch(path: Path) -> dict[str, Tensor]:
    # Trainers built on timm store their command line beside the weights, as a Namespace: an empty class, nothing runs.
    try:
        with safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on foreign pickle protocols; what comes of them is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        wanted = re.search(r"(?:GLOBAL|global:) (?!GLOBAL)([\w.]+)", str(e))
        reason = f"its pickle wants {wanted[1]}, more than tensors" if wanted else "it is no file that torch.save wrote"
        raise ValueError(
            f"checkpoint {path} is refused: {reason}; "
            "where you trust it, load it and save its state dict as .safetensors"
        ) from e
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError, IndexError) as e:
        raise ValueError(f"checkpoint {path} is truncated or no torch file; get it again") from e
    for key in _NESTED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise ValueError(f"checkpoint {path} holds {type(content).__name__}; allowed: a dict of tensors")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}
