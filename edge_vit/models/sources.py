"""Which weights a command uses: embedded, published, random, or a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_vit.models.checkpoint_io import read_checkpoint
from edge_vit.models.published import PUBLISHED, download_weights

CHECKPOINT_FOLDER = Path(__file__).parent.parent / "checkpoints"
EMBEDDED_PREFIX = "embedded:"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsSource:
    """Chosen weights.

    Attributes:
        label: What to print and to record; "embedded:NAME", a path, or "random".
        path: The file; None for random weights.
        form: "training" (float, training form), "int8" (quantized, with ranges) or "random".
        metadata: This project's metadata; {} in foreign files.
        float_label: For "int8": the float checkpoint that it came from, "" if that is not here.
    """

    label: str
    path: Path | None
    form: str
    metadata: dict[str, Any] = field(default_factory=dict)
    float_label: str = ""


def embedded_path(name: str, is_quantized: bool) -> Path:
    """Return where the repository's own checkpoint of a variant would lie."""
    return CHECKPOINT_FOLDER / f"{name}_{'int8' if is_quantized else 'float'}.safetensors"


def find_weights(name: str, choice: str, prefer_quantized: bool) -> WeightsSource:
    """Find the weights of variant `name`.

    Args:
        choice: "auto" (the repository's own, else the published ones), "imagenet" (the published ones), "random",
            or a path.
        prefer_quantized: With "auto", take the quantized checkpoint if there is one.

    Raises:
        ValueError: If there are none, or they cannot be reached.
    """
    if choice == "random":
        return WeightsSource(label="random", path=None, form="random")
    if choice == "auto":
        for is_quantized in (True, False) if prefer_quantized else (False,):
            path = embedded_path(name, is_quantized)
            if path.is_file():
                return _from_file(path, f"{EMBEDDED_PREFIX}{path.name}")
    if choice in ("auto", "imagenet"):
        if name not in PUBLISHED:
            raise ValueError(f"{name} has no embedded and no published weights; use --weights PATH or --weights random")
        path = download_weights(name)
        return _from_file(path, PUBLISHED[name].url)
    return _from_file(Path(choice), choice)


def resolve_label(label: str) -> Path:
    """Return the file that a recorded label names; it need not exist."""
    if label.startswith(EMBEDDED_PREFIX):
        return CHECKPOINT_FOLDER / label.removeprefix(EMBEDDED_PREFIX)
    for weights_name, weights in PUBLISHED.items():
        if label == weights.url:
            return download_weights(weights_name)
    return Path(label)


def _from_file(path: Path, label: str) -> WeightsSource:
    _, metadata = read_checkpoint(path)
    form = metadata.get("form", "training")
    if form not in ("training", "int8"):
        raise ValueError(f"checkpoint {path} has form {form!r}; this version knows training and int8")
    return WeightsSource(
        label=label, path=path, form=form, metadata=metadata, float_label=_float_label(metadata, path, label)
    )


def _float_label(metadata: dict[str, Any], path: Path, label: str) -> str:
    """Return the label of the float checkpoint a quantized one started from, if it lies beside it."""
    name = metadata.get("float_file", "")
    if not name or not (path.parent / name).is_file():
        return ""
    return f"{EMBEDDED_PREFIX}{name}" if label.startswith(EMBEDDED_PREFIX) else str(path.parent / name)
