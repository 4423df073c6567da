"""What `sensitivity --json` printed, for the artefacts that it is about."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.manifest import Manifest

_KEYS = {"model", "precision", "weights", "data", "measured"}
_OF_LAYERS = {
    "name", "own_db", "logits_db", "loss_alone", "loss_without", "low", "high", "seen_low", "seen_high", "clipped",
    "outliers", "channels",
}  # fmt: skip


def load(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read what the command printed.

    Raises:
        ValueError: If a file cannot be read, or holds something else.
    """
    found = []
    for path in paths:
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
        except OSError as e:
            raise ValueError(f"cannot read {path}: {e.strerror or e}") from e
        except (ValueError, RecursionError) as e:
            raise ValueError(f"{path}: no JSON; give what sensitivity --json printed") from e
        if not _is_result(plain):
            raise ValueError(f"{path}: no layers; give what sensitivity --json printed, without --artefact")
        found.append(plain)
    return found


def of(manifest: Manifest, results: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the last result about the network that an artefact holds; None where there is none.

    Each layer gets its share of the noise that all layers, each alone, make at the logits, 0 to 1.
    """
    weights = (manifest.quantization.get("ranges_from"), manifest.weights.source)
    ours = [r for r in results if r["model"] == manifest.model and r["precision"] == manifest.precision]
    ours = [r for r in ours if r["weights"] in weights]
    if not ours:
        return None
    layers = ours[-1]["measured"]["layers"]
    noise = [0.0 if layer["logits_db"] is None else 10.0 ** (-layer["logits_db"] / 10.0) for layer in layers]
    total = sum(noise) or 1.0
    return {
        "data": ours[-1]["data"],
        "measured": {key: value for key, value in ours[-1]["measured"].items() if key != "layers"},
        "layers": [layer | {"noise_share": share / total} for layer, share in zip(layers, noise, strict=True)],
    }


def _is_result(plain: Any) -> bool:
    if not isinstance(plain, dict) or not plain.keys() >= _KEYS or not isinstance(plain["measured"], dict):
        return False
    layers = plain["measured"].get("layers")
    return (
        isinstance(layers, list)
        and bool(layers)
        and all(isinstance(layer, dict) and layer.keys() >= _OF_LAYERS for layer in layers)
    )
