"""Compare files of one graph in several formats: their numbers on the same pictures, and their integers' grids."""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.dataset import BatchLoader, choose, list_images
from converters.artefact import open_artefact
from converters.grids import GridComparison, compare_operators, read_operators
from converters.manifest import MAX_SQNR_DB
from converters.sqnr import sqnr_db
from edge_vit.quantization.pipeline import run_pixels

if TYPE_CHECKING:
    from edge_vit.convert import ConvertConfig
    from edge_vit.deployment.steps import Converted, Prepared

_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class FileResult:
    """One file.

    Attributes:
        operators: Operators that compute or move values, `int8_operators` of them in int8.
        delegate_calls: None where the format does not say.
        sqnr_db: Its logits against the float model's.
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
    """Two files: on how many pictures they name the same class, and by how much their logits differ at most."""

    first: str
    second: str
    top1_agreement: float
    largest_difference: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Every file, every pair of them; `num_grids` counts the graph's int8 operators."""

    data: str
    num_images: int
    num_grids: int
    files: tuple[FileResult, ...]
    pairs: tuple[PairResult, ...]


def compare(config: "ConvertConfig", prepared: "Prepared", converted: "Sequence[Converted]") -> Agreement:
    """Run all files on the same pictures and read their grids back.

    Raises:
        ValueError: If the folder of pictures holds none that can be read.
    """
    logits, data = _all_logits(config, prepared, converted)
    floats = logits.pop("float")
    graph_operators = []
    if prepared.quantized is not None:
        from converters.passes import grids as grids_graph

        graph_operators = grids_graph.read(prepared.quantized.graph)
    files = []
    for one in converted:
        outputs = logits[one.manifest.target]
        files.append(_file_result(one, floats, outputs, graph_operators if prepared.quantized else None))
    pairs = tuple(_pair(logits, a, b) for a, b in itertools.combinations([f.target for f in files], 2))
    return Agreement(data=data, num_images=len(floats), num_grids=len(graph_operators), files=tuple(files), pairs=pairs)


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
        lines.append(f"  {names:<26}{percent}, logits differ by at most {pair.largest_difference:.3g}")
    for file in agreement.files:
        lines += _not_shared(file)
    return lines


def to_json(agreement: Agreement) -> dict[str, Any]:
    return asdict(agreement)


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


def _file_result(one: "Converted", floats: np.ndarray, outputs: np.ndarray, graph: Any) -> FileResult:
    operators = one.manifest.operators
    by_precision = [(p, n) for counts in operators.counts.values() for p, n in counts.items()]
    return FileResult(
        target=one.manifest.target,
        file=one.path.name,
        num_bytes=one.manifest.file.num_bytes,
        operators=sum(n for _, n in by_precision),
        int8_operators=sum(n for p, n in by_precision if p == "int8"),
        delegate_calls=operators.delegate_calls,
        sqnr_db=round(float(np.clip(sqnr_db(floats, outputs), -MAX_SQNR_DB, MAX_SQNR_DB)), 2),
        float_agreement=float((floats.argmax(1) == outputs.argmax(1)).mean()),
        grids=None if graph is None else compare_operators(graph, read_operators(one.path)),
    )


def _pair(logits: dict[str, np.ndarray], first: str, second: str) -> PairResult:
    a, b = logits[first], logits[second]
    return PairResult(
        first=first,
        second=second,
        top1_agreement=float((a.argmax(1) == b.argmax(1)).mean()),
        largest_difference=float(np.abs(a - b).max()),
    )


def _all_logits(
    config: "ConvertConfig", prepared: "Prepared", converted: "Sequence[Converted]"
) -> tuple[dict[str, np.ndarray], str]:
    """Return logits by target and under "float", and what the pictures are."""
    if config.data is None:
        pictures = prepared.pictures
        runs = {one.manifest.target: open_artefact(one.path).run(pictures.pixels) for one in converted}
        return runs | {"float": prepared.float_logits}, pictures.description
    artefacts = {one.manifest.target: open_artefact(one.path) for one in converted}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*artefacts, "float")}
    for pixels in _batches(config, prepared, config.data):
        parts["float"].append(run_pixels(prepared.float_model.module, pixels))
        for name, artefact in artefacts.items():
            parts[name].append(artefact.run(pixels))
    logits = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return logits, f"{len(logits['float'])} pictures of {config.data.resolve().name}/"


def _batches(config: "ConvertConfig", prepared: "Prepared", folder: Path) -> Iterator[np.ndarray]:
    """Yield pictures of --data, saying now and then how far it got."""
    images = choose(list_images(folder), config.data_images)
    done, said = 0, time.monotonic()
    print(f"comparing on {len(images)} pictures of {folder.resolve().name}/", file=sys.stderr, flush=True)
    for batch in BatchLoader(images, prepared.float_model.preprocess):
        yield batch.pixels
        done += len(batch.pixels)
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(f"{done}/{len(images)} pictures", file=sys.stderr, flush=True)
