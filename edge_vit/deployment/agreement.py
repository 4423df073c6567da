"""Compare files of one graph in several formats: their numbers on the same pictures, and their integers' grids."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.fx import GraphModule

from converters.artefact import Artefact, open_artefact
from converters.grids import GridComparison, compare_operators, read_operators
from converters.manifest import Manifest, storable_db
from converters.sqnr import sqnr_db

_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class FileResult:
    """One file.

    Attributes:
        operators: Operators that compute or move values, `int8_operators` of them in int8.
        delegate_calls: None where the format does not say.
        sqnr_db: Its outputs against the float model's.
        grids: Its int8 operators' scales and zero points against the graph's, None for a float precision.
    """

    target: str
    file: str
    num_bytes: int
    operators: int
    int8_operators: int
    delegate_calls: int | None
    sqnr_db: float
    float_agreement: float
    grids: GridComparison | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairResult:
    """Two files: on how many pictures they name the same class, and by how much their outputs differ at most."""

    first: str
    second: str
    top1_agreement: float
    largest_difference: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Every file, every pair of them; `num_grids` counts the graph's int8 operators, `compared` says what they give."""

    data: str
    num_images: int
    num_grids: int
    files: tuple[FileResult, ...]
    pairs: tuple[PairResult, ...]
    compared: str = "logits"


def compare(
    paths: Sequence[Path],
    graph: GraphModule | None,
    run_float: Callable[[np.ndarray], np.ndarray],
    batches: Iterable[np.ndarray],
    kind: str,
) -> Agreement:
    """Run files of one graph, one a target, on the same pictures and read their grids back.

    Args:
        paths: The files, each with its manifest beside it.
        graph: The int8 graph that they were lowered from; None for a float precision.
        run_float: The float model: pixels (B, R, R, 3), uint8, to what the files give.
        batches: Pixels (B, R, R, 3), uint8.
        kind: What the pictures are, as `Pictures.kind` says it.

    Raises:
        ValueError: If there is no picture that can be read.
    """
    artefacts = {path: open_artefact(path) for path in paths}
    floats, outputs = _all_outputs(artefacts, run_float, batches)
    graph_operators = None
    if graph is not None:
        from converters.passes import grids as grids_graph

        graph_operators = grids_graph.read(graph)
    manifests = {path: artefact.manifest for path, artefact in artefacts.items()}
    pairs = itertools.combinations(paths, 2)
    return Agreement(
        data=f"{len(floats)} {kind}",
        num_images=len(floats),
        num_grids=len(graph_operators or ()),
        files=tuple(_file_result(p, manifests[p], floats, outputs[p], graph_operators) for p in paths),
        pairs=tuple(_pair(manifests[a].target, manifests[b].target, outputs[a], outputs[b]) for a, b in pairs),
        compared=next(iter(manifests.values())).output.kind,
    )


def table(agreement: Agreement) -> list[str]:
    """Return the comparison for people, line by line."""
    is_int8 = agreement.num_grids > 0
    head = f"{'target':<12}{'MB':>7}{'int8 operators':>16}{'delegate calls':>16}{'dB to float':>13}"
    lines = ["", f"{head}{'same as float':>15}" + ("  scales and zero points" if is_int8 else "")]
    for file in agreement.files:
        calls = "-" if file.delegate_calls is None else str(file.delegate_calls)
        counts = f"{file.int8_operators} of {file.operators}"
        row = f"{file.target:<12}{file.num_bytes / 1e6:>7.2f}{counts:>16}{calls:>16}{file.sqnr_db:>13.1f}"
        row += f"{100 * file.float_agreement:>14.2f}%"
        lines.append(row + (f"  {_grids(file.grids, agreement.num_grids)}" if file.grids else ""))
    lines += ["", f"same top-1 on {agreement.data}:"]
    for pair in agreement.pairs:
        names = f"{pair.first} and {pair.second}"
        percent = f"{100 * pair.top1_agreement:>7.2f}%"
        lines.append(f"  {names:<26}{percent}, {agreement.compared} differ by at most {pair.largest_difference:.3g}")
    for file in agreement.files:
        lines += _not_shared(file)
    return lines


def _grids(grids: GridComparison, total: int) -> str:
    return f"all {total} equal" if grids.is_equal else f"{grids.shared} of {total} equal"


def _not_shared(file: FileResult) -> list[str]:
    if file.grids is None or file.grids.is_equal:
        return []
    lines = ["", f"int8 operators that {file.target} does not share with the graph:"]
    for sign, names in (("graph", file.grids.missing), ("file", file.grids.extra)):
        lines += [f"  {sign:<6}{name}" for name in names[:_SHOWN]]
        lines += [f"  {sign:<6}and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return lines


def _file_result(path: Path, manifest: Manifest, floats: np.ndarray, outputs: np.ndarray, graph: Any) -> FileResult:
    operators = manifest.operators
    by_precision = [(p, n) for counts in operators.counts.values() for p, n in counts.items()]
    return FileResult(
        target=manifest.target,
        file=path.name,
        num_bytes=manifest.file.num_bytes,
        operators=sum(n for _, n in by_precision),
        int8_operators=sum(n for p, n in by_precision if p == "int8"),
        delegate_calls=operators.delegate_calls,
        sqnr_db=round(storable_db(sqnr_db(floats, outputs)), 2),
        float_agreement=float((floats.argmax(1) == outputs.argmax(1)).mean()),
        grids=None if graph is None else compare_operators(graph, read_operators(path)),
    )


def _pair(first: str, second: str, a: np.ndarray, b: np.ndarray) -> PairResult:
    return PairResult(
        first=first,
        second=second,
        top1_agreement=float((a.argmax(1) == b.argmax(1)).mean()),
        largest_difference=float(np.abs(a - b).max()),
    )


def _all_outputs(
    artefacts: dict[Path, Artefact], run_float: Callable[[np.ndarray], np.ndarray], batches: Iterable[np.ndarray]
) -> tuple[np.ndarray, dict[Path, np.ndarray]]:
    """Return the float model's outputs and every file's."""
    floats: list[np.ndarray] = []
    parts: dict[Path, list[np.ndarray]] = {path: [] for path in artefacts}
    for pixels in batches:
        floats.append(run_float(pixels))
        for path, artefact in artefacts.items():
            parts[path].append(artefact.run(pixels))
    return np.concatenate(floats), {path: np.concatenate(arrays) for path, arrays in parts.items()}
