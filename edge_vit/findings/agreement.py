"""How far files agree: int8 operators with equal grids and weights, and the same first class on the same pictures."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.manifest import Manifest

if TYPE_CHECKING:
    from edge_vit.findings.measured import Measured


def agreement(
    paths: Sequence[Path],
    manifests: Sequence[Manifest],
    measured: "Mapping[str, Measured]",
    leave_out: Callable[[str, str], None],
) -> list[dict[str, Any]]:
    """Compare each pair of files, as plain values; what cannot be compared is None.

    Args:
        measured: By file name.
        leave_out: Called with a part that is missing and why.
    """
    from converters.grids import read_operators

    if len(paths) < 2:
        leave_out("agreement of files, side by side", "one artefact alone; name several")
        return []
    grids = {
        path.name: read_operators(path)
        for path, manifest in zip(paths, manifests, strict=True)
        if "int8" in manifest.precision
    }
    models = {path.name: manifest.model for path, manifest in zip(paths, manifests, strict=True)}
    found = []
    for first, second in itertools.combinations((path.name for path in paths), 2):
        are_one_graph = models[first] == models[second] and first in grids and second in grids
        found.append(
            {
                "first": first,
                "second": second,
                "int8_operators": _shared(grids[first], grids[second]) if are_one_graph else None,
                "same_top1": _same_choices(first, second, manifests, paths, measured),
            }
        )
    return found


def _shared(first: Sequence[Any], second: Sequence[Any]) -> dict[str, Any]:
    from converters.grids import compare_operators

    compared = compare_operators(first, second)
    return {"total": len(first), "shared": compared.shared, "missing": compared.missing, "extra": compared.extra}


def _same_choices(
    first: str,
    second: str,
    manifests: Sequence[Manifest],
    paths: Sequence[Path],
    measured: "Mapping[str, Measured]",
) -> dict[str, Any] | None:
    """Return on how many of the pictures that both saw they name the same class; None where classes differ."""
    classes = {path.name: manifest.classes for path, manifest in zip(paths, manifests, strict=True)}
    if first not in measured or second not in measured or classes[first] != classes[second]:
        return None
    a, b = measured[first].choices, measured[second].choices
    seen = a.keys() & b.keys()
    return {"num_images": len(seen), "same": sum(a[path] == b[path] for path in seen)} if seen else None
