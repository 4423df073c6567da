"""Gather what is known of artefacts into plain values: those of a report's JSON file and of its page."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.manifest import Manifest, load_for
from edge_vit.findings.request import LeftOut, ReportRequest

if TYPE_CHECKING:
    from converters.network import NetworkOperator
    from edge_vit.evaluation.comparison import Prepared
    from edge_vit.findings.measured import Measured
    from edge_vit.findings.records import Records

SCHEMA_VERSION = 1
INT8_LOW, INT8_HIGH = -128, 127
Progress = Callable[[str, int, int], None]


@dataclass(slots=True, kw_only=True)
class Findings:
    """Plain values, and thumbnails of flipped pictures by their path."""

    values: dict[str, Any]
    thumbnails: Mapping[str, str]
    left_out: Sequence[LeftOut]
    skipped: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A request whose files were opened: manifests and networks in the order of its artefacts, and their records.

    Attributes:
        comparisons: By file name, of those whose accuracy is to be measured.
    """

    request: ReportRequest
    manifests: tuple[Manifest, ...]
    networks: "tuple[list[NetworkOperator], ...]"
    comparisons: "Mapping[str, Prepared]"
    records: "Records"
    sensitivity: Sequence[dict[str, Any]] = ()


def check(request: ReportRequest) -> Checked:
    """Open what a report is about; say what is wrong with it before anything is computed.

    Raises:
        ValueError: If an artefact, its manifest, the records or the pictures cannot be had or do not fit together.
        ImportError: If what reads a format is missing; the message names the extra.
    """
    from converters.network import read_network
    from edge_vit.evaluation import comparison
    from edge_vit.findings import sensitivity
    from edge_vit.findings.records import load_records

    manifests = tuple(load_for(path) for path in request.artefacts)
    sensitive = sensitivity.load(request.sensitivity)
    records = load_records(request.bench, [manifest.file.sha256 for manifest in manifests])
    comparisons = {
        path.name: comparison.prepare(_accuracy_config(request, path))
        for path, manifest in zip(request.artefacts, manifests, strict=True)
        if request.data is not None and not manifest.features
    }
    networks = tuple(read_network(path) for path in request.artefacts)
    return Checked(
        request=request, manifests=manifests, networks=networks, comparisons=comparisons, records=records,
        sensitivity=sensitive,
    )  # fmt: skip


def gather(checked: Checked, progress: Progress) -> Findings:
    """Read every file, run it on the pictures, and pick its records.

    Args:
        progress: Called with an artefact's name, pictures done and in all.

    Raises:
        ValueError: If a runtime does not take a file.
        ImportError: If a runtime is missing; the message names the extra.
    """
    from edge_vit.devices.results import notes
    from edge_vit.findings import sensitivity
    from edge_vit.findings.agreement import agreement
    from edge_vit.findings.measured import measure

    request, left_out = checked.request, _Gaps()
    artefacts: list[dict[str, Any]] = []
    measured: dict[str, Measured] = {}
    for path, manifest, network in zip(request.artefacts, checked.manifests, checked.networks, strict=True):
        if path.name in checked.comparisons:
            measured[path.name] = measure(checked.comparisons[path.name], functools.partial(progress, path.name))
        records = checked.records.of(manifest.file.sha256)
        found = sensitivity.of(manifest, checked.sensitivity)
        artefacts.append(_artefact(path, manifest, network, records, measured.get(path.name)) | {"sensitivity": found})
        if found is None and "int8" in manifest.precision:
            why = "no --sensitivity" if not request.sensitivity else "no result about its network in --sensitivity"
            left_out.add("sensitivity by layer", f"{why}: sensitivity --json measures it", path.name)
        if not artefacts[-1]["ranges"]:
            reason = "its manifest holds none" if "int8" in manifest.precision else "a float file has none"
            left_out.add("ranges of activations", reason, path.name)
    _note_absent(checked, left_out)
    return Findings(
        values={
            "schema_version": SCHEMA_VERSION,
            "command": request.command,
            "artefacts": artefacts,
            "agreement": agreement(request.artefacts, checked.manifests, measured, left_out.add),
            "latency_notes": notes(checked.records.latencies),
            "left_out": [asdict(gap) for gap in left_out.gaps],
        },
        thumbnails={path: uri for found in measured.values() for path, uri in found.thumbnails.items()},
        left_out=left_out.gaps,
        skipped=tuple(dict.fromkeys(line for found in measured.values() for line in found.skipped)),
    )


class _Gaps:
    """What a report does not have."""

    def __init__(self) -> None:
        self.gaps: list[LeftOut] = []

    def add(self, part: str, reason: str, artefact: str | None = None) -> None:
        self.gaps.append(LeftOut(part=part, reason=reason, artefact=artefact))


def _accuracy_config(request: ReportRequest, path: Path) -> Any:
    from edge_vit.evaluation.comparison import AccuracyConfig

    assert request.data is not None
    return AccuracyConfig(
        artefact=path,
        data=request.data,
        limit=request.limit,
        float_artefact=request.float_artefact,
        threads=request.threads,
    )


def _artefact(
    path: Path,
    manifest: Manifest,
    network: "Sequence[NetworkOperator]",
    records: "Records",
    measured: "Measured | None",
) -> dict[str, Any]:
    """Return one artefact's plain values; a part that it does not have is None or empty."""
    from edge_vit.findings.bench import counts, latency

    return {
        "name": path.name,
        "manifest": asdict(manifest),
        "network": _network(network, records),
        "slow_path": _slow_path(path),
        "ranges": _ranges(manifest),
        "accuracy": measured.values if measured else None,
        "instructions": [counts(record) for record in records.instructions],
        "latency": [latency(record) for record in records.latencies],
    }


def _network(operators: "Sequence[NetworkOperator]", records: "Records") -> dict[str, Any]:
    """Return operators and blocks; costs are those of the last record by operator, else multiply-adds."""
    from edge_vit.findings.network import blocks, shares

    record = next((r for r in reversed(records.instructions) if r.get("operators")), None)
    costs, unit = shares(operators, record)
    return {
        "cost_unit": unit,
        "multiply_adds": sum(operator.multiply_adds for operator in operators),
        "constant_bytes": sum(operator.constant_bytes for operator in operators),
        "operators": [asdict(o) | {"cost_share": c} for o, c in zip(operators, costs, strict=True)],
        "blocks": [asdict(block) for block in blocks(operators)],
    }


def _slow_path(path: Path) -> list[dict[str, Any]] | None:
    """Return the int8 operators that XNNPACK leaves to slower kernels; None where the format does not say."""
    if path.suffix != ".tflite":
        return None
    from converters.tflite.inspect import inspect

    return [asdict(operator) for operator in inspect(path).slow_path]


def _ranges(manifest: Manifest) -> list[dict[str, Any]]:
    """Return what each activation can hold: the ends of its grid, from the manifest's scales and zero points."""
    grids = manifest.quantization.get("ranges", {})
    return [
        {
            "name": name,
            "scale": scale,
            "zero_point": zero_point,
            "low": (INT8_LOW - zero_point) * scale,
            "high": (INT8_HIGH - zero_point) * scale,
        }
        for name, (scale, zero_point) in grids.items()
    ]


def _note_absent(checked: Checked, left_out: _Gaps) -> None:
    """Say which parts were not asked for, or could not be had."""
    records, request = checked.records, checked.request
    if request.data is None:
        parts = "accuracy, confusion, flipped pictures, reliability"
        left_out.add(parts, "no --data: accuracy was not measured")
    for path, manifest in zip(request.artefacts, checked.manifests, strict=True):
        if request.data is not None and manifest.features:
            left_out.add("accuracy", "it gives feature maps, no classes", path.name)
    for part, found, how in (
        ("latency and sustained curves", records.latencies, "bench_arm --json or --results"),
        ("instruction counts", records.instructions, "bench_arm --emulate --by-operator"),
    ):
        if not found:
            why = "no --bench" if not request.bench else "no record of these files in --bench"
            left_out.add(part, f"{why}: {how} measures it")
    if records.others:
        left_out.add("records", f"they are of other files: {', '.join(records.others)}")
