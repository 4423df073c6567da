"""Cells of a report's tables, as filters of its template."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Plain = Mapping[str, Any]


def accuracy_rows(accuracy: Plain) -> list[list[str]]:
    """Return what a comparison measured, this file's and float's figures with their intervals."""
    o = accuracy["overall"]
    tops = [f"{o[key]:.2f}" for key in ("artefact_top1", "float_top1")]
    intervals = [_interval(accuracy[f"{key}_interval"]) for key in ("artefact_top1", "float_top1")]
    here, its = f"{o['float_margin'] + o['margin_change']:.3f}", f"{o['float_margin']:.3f}"
    return [
        ["top-1, %", tops[0], intervals[0], tops[1], intervals[1]],
        ["drop of top-1, points", f"{o['drop_points']:.2f}", _interval(o["interval_points"]), "", ""],
        ["McNemar's p", f"{o['mcnemar_p']:.2g}", "", "", ""],
        ["same top-1 as float, %", f"{100 * o['agreement']:.2f}", "", "", ""],
        [f"{accuracy['compared']}, dB over the noise of quantization", f"{o['sqnr_db']:.1f}", "", "", ""],
        ["margin of the true class", here, "", its, ""],
    ]


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}"


def class_row(c: Plain) -> list[str]:
    tops = (f"{c[key]:.1f}" for key in ("artefact_top1", "float_top1"))
    return [c["name"], str(c["num_images"]), *tops, str(c["losses"]), str(c["gains"])]


def pair_row(pair: Sequence[Any]) -> list[str]:
    true, taken_for, by_float, here = pair
    return [true, taken_for, str(here), str(by_float)]


def bin_rows(accuracy: Plain) -> list[list[str]]:
    """Return the bins of both models in which either has pictures."""
    both = zip(accuracy["reliability"]["bins"], accuracy["float_reliability"]["bins"], strict=True)
    return [
        [f"{100 * mine['low']:.0f} to {100 * mine['high']:.0f}", *_bin(mine), *_bin(its)]
        for mine, its in both
        if mine["num_images"] or its["num_images"]
    ]


def _bin(found: Plain) -> list[str]:
    if not found["num_images"]:
        return ["0", "–", "–"]
    return [str(found["num_images"]), f"{100 * found['confidence']:.1f}", f"{100 * found['right']:.1f}"]


def operator_row(operator: Plain) -> list[str]:
    cost = operator["cost_share"]
    return [
        operator["kind"],
        operator["precision"],
        operator["name"],
        " x ".join(map(str, operator["shape"])),
        f"{operator['multiply_adds'] / 1e6:.2f}" if operator["multiply_adds"] else "",
        f"{operator['constant_bytes']:,}" if operator["constant_bytes"] else "",
        f"{100 * cost:.2f}" if cost else "",
    ]


def count_row(item: tuple[str, Mapping[str, int]]) -> list[str]:
    return [item[0], ", ".join(f"{count} {precision}" for precision, count in item[1].items())]


def slow_row(operator: Plain) -> list[str]:
    return [operator["type"], operator["name"], operator["reason"]]


def range_row(found: Plain) -> list[str]:
    return [found["name"], *(f"{found[key]:.4g}" for key in ("low", "high", "scale")), str(found["zero_point"])]


def layer_row(layer: Plain) -> list[str]:
    """Return what int8 in one layer does, as `sensitivity` prints it."""
    ratios = ["exact" if layer[key] is None else f"{layer[key]:.1f}" for key in ("logits_db", "own_db")]
    outliers = "-" if layer["outliers"] is None else f"{layer['outliers']} of {layer['channels']}"
    return [
        layer["name"], f"{100 * layer['noise_share']:.1f}", *ratios, f"{layer['loss_alone']:+.4f}",
        f"{layer['loss_without']:+.4f}", f"{layer['low']:.3g} to {layer['high']:.3g}",
        f"{layer['seen_low']:.3g} to {layer['seen_high']:.3g}", f"{100 * layer['clipped']:.3f}", outliers,
    ]  # fmt: skip


def instruction_rows(record: Plain) -> list[list[str]]:
    """Return a record's operators by kernel, and what lies between them."""
    total = record["instructions"]
    rows = [
        [o["kind"], o["kernel"], str(o["times"]), f"{o['instructions']:,}", f"{100 * o['instructions'] / total:.1f}"]
        for o in record["operators"]
    ]
    between = record["between_operators"]
    return rows + ([["between operators", "", "", f"{between:,}", f"{100 * between / total:.1f}"]] if between else [])


def maps_row(found: Plain) -> list[str]:
    decibels = "–" if found["sqnr_db"] is None else f"{found['sqnr_db']:.1f}"
    return [found["name"], " x ".join(map(str, found["shape"])), str(found["stride"]), decibels]


def agreement_row(pair: Plain) -> list[str]:
    shared, same = pair["int8_operators"], pair["same_top1"]
    return [
        pair["first"],
        pair["second"],
        f"{shared['shared']} of {shared['total']}" if shared else "–",
        f"{100 * same['same'] / same['num_images']:.2f}" if same else "–",
    ]


FILTERS: dict[str, Callable[..., Any]] = {
    "thousands": lambda number: f"{number:,}",
    "percent": lambda share, digits=1: f"{100 * share:.{digits}f}%",
    "fixed": lambda number, digits=2: f"{number:.{digits}f}",
    "file_name": lambda path: path.replace("\\", "/").rsplit("/", 1)[-1],
    **{
        row.__name__: row
        for row in (
            accuracy_rows, class_row, pair_row, bin_rows, operator_row, count_row, slow_row, layer_row, range_row,
            instruction_rows, maps_row, agreement_row,
        )
    },
}  # fmt: skip
