"""What a training leaves on disk: its folder, the state that it resumes from, its log."""

import contextlib
import errno
import json
import os
import pickle
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from converters.first_line import first_line

STATE_FILE = "last.pt"
LOG_FILE = "log.jsonl"

_PROBE_BYTES = 1 << 16
# What loading is known to raise on damaged and foreign files. torch's own words end in advice to load them unsafely.
_LOAD_ERRORS = (
    OSError, pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, TypeError, AttributeError,
    LookupError, ArithmeticError, AssertionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_KEYS: dict[str, Any] = {
    "fingerprint": dict, "epoch": int, "chosen_epoch": int, "top1": float, "best": (list, type(None)),
    "start_top1": (float, type(None)), "model": dict, "optimizer": dict, "averaged": dict,
}  # fmt: skip
# What sets the length of a run; with --prolong it may differ.
_LENGTH = {"epochs", "warmup_share", "freeze_share", "head_share"}


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder and write to it, before anything else costs time; where the block fails, leave nothing empty.

    Raises:
        ValueError: If the folder cannot be made or takes no file.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
        if (folder / LOG_FILE).is_dir():
            raise IsADirectoryError(errno.EISDIR, f"{LOG_FILE} in it is a folder")
    except OSError as e:
        _remove_empty(made)
        raise ValueError(f"{folder} takes no files ({e.strerror}); choose another folder with --output-dir") from e
    try:
        yield
    except BaseException:
        if made and not (folder / STATE_FILE).exists() and os.listdir(folder) == [LOG_FILE]:
            (folder / LOG_FILE).unlink()  # of an epoch that was not finished
        _remove_empty(made)
        raise


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return the state that a training left in `folder`, None if there is none. Nothing in the file is executed.

    Raises:
        ValueError: If there is a file of that name which is no such state.
    """
    import torch

    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            is_whole = archive.testzip() is None  # torch does not look at checksums
        state = torch.load(path, map_location="cpu", weights_only=True) if is_whole else None
    except _LOAD_ERRORS as e:
        raise _no_state(path) from e
    if not isinstance(state, dict) or any(not isinstance(state.get(key), kind) for key, kind in _KEYS.items()):
        raise _no_state(path)
    return state


def _no_state(path: Path) -> ValueError:
    return ValueError(
        f"{path} is no state that a training left, or it is damaged; "
        "move it away to start anew, or choose another --output-dir"
    )


def check_settings(folder: Path, was: Mapping[str, Any], now: Mapping[str, Any], done: int, may_prolong: bool) -> None:
    """Check that a run goes on with the settings and the data that it began with.

    Args:
        was: Fingerprint in the state.
        now: Fingerprint of this run.
        done: Epochs that the state has behind it.
        may_prolong: Whether the run may be longer now.

    Raises:
        ValueError: If something differs; the message says what it was.
    """
    differing = {key for key, value in now.items() if was.get(key) != value}
    is_longer = "epochs" in differing and now["epochs"] > max(done, was.get("epochs", 0))
    if is_longer and differing <= _LENGTH:
        if may_prolong:
            return
        raise ValueError(
            f"{folder} holds a run of {was['epochs']} epochs; add --prolong to go on to {now['epochs']}, "
            "or choose another --output-dir"
        )
    if differing:
        old = ", ".join(f"{key}={was.get(key)}" for key in now if key in differing)
        raise ValueError(f"{folder} holds a run with other settings ({old}); use them, or another --output-dir")


def restore_(state: Mapping[str, Any], folder: Path, **parts: Any) -> None:
    """Put a state into the parts that it names, in place.

    Raises:
        ValueError: If it does not fit.
    """
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except _LOAD_ERRORS as e:
            raise _no_state(folder / STATE_FILE) from e


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the state in `folder`, completely or not at all.

    Raises:
        RuntimeError: If it cannot be written.
    """
    import torch

    path = folder / STATE_FILE
    temporary = folder / (STATE_FILE + ".tmp")
    try:
        with written(path):
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as e:  # of torch's writer; its words are a line of C++
                raise OSError(f"torch wrote {temporary.stat().st_size} bytes of it") from e
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Within the block `path` is written; a full or lost disk becomes a RuntimeError of one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as e:
        reason = (e.strerror if isinstance(e, OSError) else None) or first_line(e)
        raise RuntimeError(
            f"{path} cannot be written ({reason}); make room, then the same command resumes after the last full epoch"
        ) from e


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one line to the log."""
    path = folder / LOG_FILE
    with written(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def trim_log(folder: Path, epoch: int, step: int) -> None:
    """Drop what an interrupted epoch logged, which will be trained again, and lines that are no records."""
    path = folder / LOG_FILE
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and _number(record, "epoch") < epoch and _number(record, "step") < step:
            kept.append(line + "\n")
    temporary = path.with_name(path.name + ".tmp")
    try:
        with written(path):
            temporary.write_text("".join(kept), encoding="utf-8")
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _number(record: Mapping[str, Any], key: str) -> float:
    value = record.get(key, -1)
    return value if isinstance(value, (int, float)) else float("inf")
