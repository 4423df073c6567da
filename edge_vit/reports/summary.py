"""The figures at the head of a report, and files side by side: words and numbers from its plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

PRECISIONS = {
    "fp32": "float32", "fp16": "float16", "int8_ptq": "int8, ranges chosen", "int8_qat": "int8, trained for it",
    "int16_ptq": "int8 weights, int16 activations", "int16_qat": "int8 weights trained for it, int16 activations",
}  # fmt: skip
TARGETS = {"tflite": "TFLite", "executorch": "ExecuTorch", "coreml": "Core ML"}
Artefact = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure at the head of an artefact's chapter; `note` says what it is measured against."""

    name: str
    figure: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the comparison: a cell a file, and of two files how the second stands to the first."""

    name: str
    cells: tuple[str, ...]
    change: str


def title(artefacts: Sequence[Artefact]) -> str:
    """Return the page's title: the models, and how many files there are of them."""
    models = " and ".join(dict.fromkeys(a["manifest"]["model"] for a in artefacts))
    if len(artefacts) > 1:
        return f"{models}: {len(artefacts)} files"
    manifest = artefacts[0]["manifest"]
    return f"{models}, {PRECISIONS[manifest['precision']]}, {target(manifest)}"


def target(manifest: Mapping[str, Any]) -> str:
    return TARGETS.get(manifest["target"], manifest["target"])


def what_it_is(artefact: Artefact) -> list[tuple[str, str]]:
    """Return terms and what they are, as the manifest says."""
    m = artefact["manifest"]
    info, output, check = m["input"], m["output"], m["verification"]
    digest = f", SHA-256 {m['weights']['sha256'][:16]}…" if m["weights"]["sha256"] else ""
    taken = info["takes"] or f"{info['dtype']} {info['layout']} {list(info['shape'])}, RGB"
    prepared = (
        f"shorter side to {info['resize']}, {info['interpolation']}, centre crop; mean and standard deviation are "
        + ("inside the file" if info["normalization"] == "inside" else f"yours: {info['mean']}, {info['std']}")
    )
    verified = f"not: {m['verification_reason']}"
    if check:
        same = "" if check["top1_agreement"] is None else f", {100 * check['top1_agreement']:.0f}% same top-1"
        verified = f"{check['sqnr_db']:.1f} dB against torch{same}, on {check['data']}"
    found = [
        ("Model", m["model"]),
        ("Precision", PRECISIONS[m["precision"]]),
        ("Format", f"{target(m)}, made by {m['backend']}"),
        ("Weights", m["weights"]["source"] + digest),
        ("File", f"{m['file']['num_bytes']:,} bytes, SHA-256 {m['file']['sha256']}"),
        ("Takes", taken),
        ("Picture", prepared),
        ("Gives", f"{output['kind']}, {output['dtype']} {list(output['shape'])}, as {output['name']}"),
        ("Verified", verified),
    ]
    quantization = m["quantization"]
    for name, key in (
        ("Weights as integers", "weights"),
        ("Activations", "activations"),
        ("Ranges from", "ranges_from"),
    ):
        if isinstance(quantization.get(key), str):
            found.append((name, quantization[key]))
    return found


def tiles(artefact: Artefact) -> list[Tile]:
    """Return the figures that matter first."""
    m, accuracy = artefact["manifest"], artefact["accuracy"]
    found = [Tile(name="Size", figure=f"{m['file']['num_bytes'] / 1e6:.2f} MB", note=_share_of_weights(artefact))]
    if accuracy:
        o, low_high = accuracy["overall"], "{:.1f} to {:.1f}%".format(*accuracy["artefact_top1_interval"])
        found.append(
            Tile(name="Top-1", figure=f"{o['artefact_top1']:.2f}%", note=f"{low_high}, {o['num_images']} pictures")
        )
        interval = "{:.2f} to {:.2f}, 95% interval".format(*o["interval_points"])
        found.append(Tile(name="Points lost to float", figure=f"{o['drop_points']:.2f}", note=interval))
    for record in artefact["instructions"]:
        found.append(
            Tile(name="Instructions", figure=f"{record['instructions'] / 1e6:.1f} M", note=f"{record['cpu']}, emulated")
        )
    for record in artefact["latency"]:
        if record["figures"].get("p50") is not None:
            note = ", ".join([f"p50 on {record['device_model'] or record['device']}", *record["figures"]["marks"]])
            found.append(Tile(name="Latency", figure=f"{record['figures']['p50']:.2f} ms", note=note))
    adds = artefact["network"]["multiply_adds"]
    found.append(Tile(name="Multiply-adds", figure=f"{adds / 1e6:.0f} M", note=f"{adds:,} an inference"))
    if m["delegated_nodes"] is not None:
        note = f"of {m['total_nodes']} operators in the delegate"
        found.append(Tile(name="Delegated", figure=f"{m['delegated_nodes']}", note=note))
    if m["verification"]:
        found.append(
            Tile(name="Verified", figure=f"{m['verification']['sqnr_db']:.1f} dB", note=m["verification"]["data"])
        )
    return found


def _share_of_weights(artefact: Artefact) -> str:
    return f"{artefact['network']['constant_bytes'] / 1e6:.2f} MB weights and tables"


def blocks(network: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each block with its bytes and its share of the cost, in percent."""
    found = []
    for number, block in enumerate(network["blocks"], 1):
        inside = network["operators"][block["start"] : block["end"]]
        percent = 100 * sum(op["cost_share"] or 0.0 for op in inside)
        megabytes = sum(op["constant_bytes"] for op in inside) / 1e6
        held = f"{len(inside)} operator{'s' if len(inside) > 1 else ''}, {megabytes:.2f} MB"
        said = f"{held}, {percent:.1f}% of {network['cost_unit']}"
        found.append(
            {
                "block": block["name"] if not _is_repeated(network, block) else f"{block['name']} ({number})",
                "start": block["start"],
                "end": block["end"],
                "MB": megabytes,
                "percent": percent,
                "label": f"{block['name']}: {said}",
                "said": said,
            }
        )
    return found


def _is_repeated(network: Mapping[str, Any], block: Mapping[str, Any]) -> bool:
    return [other["name"] for other in network["blocks"]].count(block["name"]) > 1


def confusion(accuracy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the matrix's cells with the step of their colour, 0 to 4, and the pairs that are confused most."""
    names = {i: entry for i, entry in enumerate(accuracy["class_names"])}
    matrix = accuracy["confusion"]
    rows = []
    for i, counts in enumerate(matrix or ()):
        total = sum(counts)
        if total:
            steps = [_step(count / total) for count in counts]
            rows.append({"name": names[i], "cells": list(zip(counts, steps, strict=True)), "place": i, "total": total})
    pairs = [(names[p["true"]], names[p["taken_for"]], p["float_count"], p["count"]) for p in accuracy["confused"]]
    return {"columns": list(names.values()), "rows": rows, "pairs": pairs}


def _step(share: float) -> int:
    return sum(share > limit for limit in (0.0, 0.02, 0.05, 0.2))


def side_by_side(artefacts: Sequence[Artefact]) -> list[Row]:
    """Return the comparison, a row a figure; rows that no file has are left out."""
    if len(artefacts) < 2:
        return []
    rows = [_row(name, artefacts, read, form, kind) for name, read, form, kind in _FIGURES]
    for what, key, number, form, kind in _MEASURED:
        places = dict.fromkeys(record[key] for a in artefacts for record in a[what])
        for place in places:
            label = f"{_MEASURED_NAMES[what]} on {place}"
            rows.append(_row(label, artefacts, _reader(what, key, place, number), form, kind))
    return [row for row in rows if any(cell != "–" for cell in row.cells)]


Kind = Literal["text", "ratio", "difference"]


def _row(name: str, artefacts: Sequence[Artefact], read: Any, form: str, kind: Kind) -> Row:
    found = [read(artefact) for artefact in artefacts]
    cells = tuple("–" if value is None else format(value, form) if form else str(value) for value in found)
    change = ""
    if len(found) == 2 and None not in found and kind != "text":
        change = (
            f"{found[1] - found[0]:+.2f}" if kind == "difference" else f"{found[1] / found[0]:.3f}x" if found[0] else ""
        )
    return Row(name=name, cells=cells, change=change)


def _reader(what: str, key: str, place: str, number: Any) -> Any:
    def read(artefact: Artefact) -> Any:
        return next((number(record) for record in reversed(artefact[what]) if record[key] == place), None)

    return read


def _overall(name: str) -> Any:
    return lambda a: a["accuracy"]["overall"][name] if a["accuracy"] else None


def _percent(part: str, name: str) -> Any:
    return lambda a: 100 * a["accuracy"][part][name] if a["accuracy"] else None


def _operator_count(artefact: Artefact, precision: str | None = None) -> int:
    counts = artefact["manifest"]["operators"]["counts"]
    return sum(n for by in counts.values() for p, n in by.items() if precision in (None, p))


_FIGURES: tuple[tuple[str, Any, str, Kind], ...] = (
    ("Model", lambda a: a["manifest"]["model"], "", "text"),
    ("Precision", lambda a: PRECISIONS[a["manifest"]["precision"]], "", "text"),
    ("Format", lambda a: target(a["manifest"]), "", "text"),
    ("Size, MB", lambda a: a["manifest"]["file"]["num_bytes"] / 1e6, ".2f", "ratio"),
    ("Weights and tables, MB", lambda a: a["network"]["constant_bytes"] / 1e6, ".2f", "ratio"),
    ("Multiply-adds, M", lambda a: a["network"]["multiply_adds"] / 1e6, ".1f", "ratio"),
    ("Operators", _operator_count, "d", "ratio"),
    ("Operators in int8", lambda a: _operator_count(a, "int8"), "d", "text"),
    ("Delegated", lambda a: a["manifest"]["delegated_nodes"], "d", "text"),
    ("Verified, dB", lambda a: (a["manifest"]["verification"] or {}).get("sqnr_db"), ".1f", "difference"),
    ("Top-1, %", _overall("artefact_top1"), ".2f", "difference"),
    ("Float's top-1, %", _overall("float_top1"), ".2f", "difference"),
    ("Drop, points", _overall("drop_points"), ".2f", "difference"),
    ("Same top-1 as float, %", _percent("overall", "agreement"), ".2f", "difference"),
    ("dB to float", _overall("sqnr_db"), ".1f", "difference"),
    ("Calibration error, %", _percent("reliability", "error"), ".2f", "difference"),
)  # fmt: skip
_MEASURED: tuple[tuple[str, str, Any, str, Kind], ...] = (
    ("instructions", "cpu", lambda r: r["instructions"] / 1e6, ".1f", "ratio"),
    ("latency", "device", lambda r: r["figures"].get("p50"), ".3f", "ratio"),
)
_MEASURED_NAMES = {"instructions": "M instructions", "latency": "p50, ms"}
