"""The charts of a report, as Vega-Lite specifications over the report's plain values."""

from collections.abc import Mapping, Sequence
from typing import Any

from edge_vit.reports.svg import draw

WIDTH = 640
SERIES = ("var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)", "var(--s6)")
PRECISION_COLOURS = {
    "int8": "var(--p-int8)", "int16": "var(--p-int16)", "fp16": "var(--p-fp16)", "float32": "var(--p-float32)",
    "weights_only": "var(--p-weights_only)", "boundary": "var(--p-boundary)", "other": "var(--p-other)",
    "constant": "var(--p-constant)",
}  # fmt: skip
_SAID = {"field": "said", "type": "nominal"}  # what a pointer that rests on a mark is told
_Y_LABELS = {"labelLimit": 260, "title": None, "ticks": False, "domain": False}


def sizes(artefacts: Sequence[Mapping[str, Any]]) -> str:
    """Draw each file's size."""
    rows = [{"file": a["name"], "MB": a["manifest"]["file"]["num_bytes"] / 1e6} for a in artefacts]
    bars = {"y": _names("file"), "x": _quantity("MB", "MB")}
    layer = [
        {"mark": {"type": "bar", "color": SERIES[0], "height": {"band": 0.7}}, "encoding": bars},
        {
            "mark": {"type": "text", "align": "left", "dx": 4, "color": "var(--ink)"},
            "encoding": bars | {"text": {"field": "MB", "format": ".2f"}},
        },
    ]
    return draw(_over(rows, layer, height={"step": 26}), "Size of each file in megabytes")


def blocks(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Draw what each block of the network holds and costs, side by side.

    Args:
        rows: "block", "MB" of weights and tables, "percent" of the cost, in order.
    """
    order = [row["block"] for row in rows]
    panels = [
        {
            "width": 235,
            "height": {"step": 19},
            "mark": {"type": "bar", "color": colour, "height": {"band": 0.7}},
            "encoding": {
                "y": {"field": "block", "type": "nominal", "sort": order, "axis": axis},
                "x": _quantity(field, title),
                "description": _SAID,
            },
        }
        for field, title, colour, axis in (
            ("MB", "MB of weights and tables", SERIES[0], _Y_LABELS),
            ("percent", f"% of {unit}", SERIES[1], None),
        )
    ]
    told = [
        dict(row) | {"said": f"{row['block']}: {row['MB']:.3f} MB, {row['percent']:.1f}% of {unit}"} for row in rows
    ]
    spec = {"data": {"values": told}, "hconcat": panels, "spacing": 18}
    return draw(spec, f"Bytes and share of {unit} of each block of the network")


def drops(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw the drop of top-1 with its interval: "name", "drop", "low", "high" in points."""
    y, title = _names("name"), "points of top-1 lost, with the 95% interval"
    layer: list[dict[str, Any]] = [
        {
            "data": {"values": [{"zero": 0}]},
            "mark": _rule("var(--muted)", dash=[4, 3]),
            "encoding": {"x": {"datum": 0, "title": title}},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 3, "color": SERIES[0]},
            "encoding": {"y": y, "x": _quantity("low", title), "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 90, "color": SERIES[0], "opacity": 1},
            "encoding": {"y": y, "x": _quantity("drop", title), "description": _SAID},
        },
    ]
    told = [dict(r) | {"said": f"{r['name']}: {r['drop']:.2f} points, {r['low']:.2f} to {r['high']:.2f}"} for r in rows]
    return draw(_over(told, layer, height={"step": 34}), "Drop of top-1 against float, with its 95% interval")


def by_class(classes: Sequence[Mapping[str, Any]]) -> str:
    """Draw top-1 by class, float and artefact joined by a line."""
    names = [c["name"] for c in classes]
    rows = [
        {"class": c["name"], "top1": c[key], "model": model, "said": f"{c['name']}: {model} {c[key]:.1f}%"}
        for c in classes
        for key, model in (("float_top1", "float"), ("artefact_top1", "this file"))
    ]
    y = _names("class", names)
    x = _quantity("top1", "top-1, %") | {"scale": {"zero": False, "nice": True}}
    colour, shape = (
        {"field": "model", "type": "nominal", "scale": {"domain": ["float", "this file"], "range": both}}
        for both in (list(SERIES[1::-1]), ["diamond", "circle"])
    )
    line = {"type": "line", "color": "var(--edge)", "aria": False}
    layer: list[dict[str, Any]] = [
        {"mark": line, "encoding": {"y": y, "x": x, "detail": {"field": "class"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
            "encoding": {
                "y": y,
                "x": x,
                "fill": colour,
                "shape": shape,
                "description": _SAID,
            },
        },
    ]
    return draw(_over(rows, layer, height={"step": 22}), "Top-1 by class, float and this file")


def reliability(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw how often each model is right where it is so sure; by name what `evaluation.details.Reliability` holds."""
    rows = [
        {
            "model": name,
            "sure": 100 * b["confidence"],
            "right": 100 * b["right"],
            "pictures": b["num_images"],
            "said": f"{name}: {b['confidence']:.0%} sure, {b['right']:.0%} right, {b['num_images']} pictures",
        }
        for name, found in models.items()
        for b in found["bins"]
        if b["num_images"]
    ]
    hundred = {"scale": {"domain": [0, 100]}}
    encoding = {
        "x": _quantity("sure", "how sure it is, %") | hundred,
        "y": _quantity("right", "how often it is right, %") | hundred,
        "color": {"field": "model", "type": "nominal", "scale": {"domain": list(models), "range": list(SERIES[1::-1])}},
    }
    ideal = [{"sure": 0, "right": 0}, {"sure": 100, "right": 100}]
    layer: list[dict[str, Any]] = [
        {
            "data": {"values": ideal},
            "mark": {"type": "line", "color": "var(--muted)", "strokeDash": [4, 3], "aria": False},
            "encoding": {"x": encoding["x"], "y": encoding["y"]},
        },
        {"mark": {"type": "line", "strokeWidth": 1.5, "aria": False}, "encoding": encoding},
        {
            "mark": {"type": "point", "filled": True, "opacity": 1},
            "encoding": encoding
            | {
                "size": {"field": "pictures", "type": "quantitative", "scale": {"range": [20, 400]}, "legend": None},
                "description": _SAID,
            },
        },
    ]
    return draw(
        _over(rows, layer, width=360, height=360), "Reliability: share of right answers by how sure the model is"
    )


def ranges(found: Sequence[Mapping[str, Any]]) -> str:
    """Draw the range of each activation in the network's order, on an axis that is linear near 0."""
    rows = [
        {
            "place": i,
            "low": r["low"],
            "high": r["high"],
            "said": f"{r['name']}: {r['low']:.4g} to {r['high']:.4g}, step {r['scale']:.4g}",
        }
        for i, r in enumerate(found)
    ]
    bar = max(2.0, min(8.0, 0.7 * WIDTH / len(rows)))
    y = {
        "scale": {"type": "symlog", "constant": 1},
        "axis": {"values": [-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, 300]},
    }
    layer = [
        {
            "mark": {"type": "rule", "strokeWidth": bar, "color": SERIES[0]},
            "encoding": {
                "x": _quantity("place", "activations, from input to output"),
                "y": _quantity("low", "range") | y,
                "y2": {"field": "high"},
                "description": _SAID,
            },
        },
    ]
    return draw(_over(rows, layer, height=280), "Range of each quantized activation, from input to output")


def sensitivity(layers: Sequence[Mapping[str, Any]], most: int = 20) -> str:
    """Draw the layers that make most of the noise at the logits, each alone in int8."""
    rows = [
        {
            "layer": layer["name"],
            "share": 100 * layer["noise_share"],
            "said": f"{layer['name']}: {100 * layer['noise_share']:.1f}% of the noise",
        }
        for layer in layers[:most]
    ]
    encoding = {"y": _names("layer", "-x"), "x": _quantity("share", "noise at the logits, % of all layers'")}
    layer = [{"mark": {"type": "bar", "color": SERIES[0]}, "encoding": encoding | {"description": _SAID}}]
    return draw(_over(rows, layer, height={"step": 18}), "Layers by the noise that they make in int8")


def operators(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Draw operators by type and precision."""
    rows: list[dict[str, Any]] = [
        {"type": kind, "precision": precision, "count": count, "said": f"{kind}: {count} in {precision}"}
        for kind, by in counts.items()
        for precision, count in by.items()
    ]
    used = [p for p in PRECISION_COLOURS if any(row["precision"] == p for row in rows)]
    used += sorted({row["precision"] for row in rows} - set(used))
    encoding = {
        "y": _names("type", "-x"),
        "x": _quantity("count", "operators"),
        "color": {
            "field": "precision",
            "type": "nominal",
            "scale": {"domain": used, "range": [PRECISION_COLOURS.get(p, "var(--p-other)") for p in used]},
        },
        "description": _SAID,
    }
    layer = [{"mark": {"type": "bar", "height": {"band": 0.72}}, "encoding": encoding}]
    return draw(_over(rows, layer, height={"step": 21}), "Operators by type and precision")


def instructions(found: Sequence[Mapping[str, Any]]) -> str:
    """Draw instructions by kind of operator on each core."""
    rows: list[dict[str, Any]] = []
    for record in found:
        totals: dict[str, int] = {}
        for entry in record["operators"]:
            totals[entry["kind"]] = totals.get(entry["kind"], 0) + entry["instructions"]
        if (record["between_operators"] or 0) > 0:  # below 0 where the profiler's own work outweighs it
            totals["between operators"] = record["between_operators"]
        rows += [
            {
                "kind": kind,
                "core": record["cpu"],
                "M": total / 1e6,
                "said": f"{kind} on {record['cpu']}: {total:,}, {total / record['instructions']:.1%}",
            }
            for kind, total in totals.items()
        ]
    cores = list(dict.fromkeys(row["core"] for row in rows))
    encoding = {
        "y": _names("kind", "-x"),
        "yOffset": {"field": "core", "sort": cores},
        "x": _quantity("M", "million instructions of one inference"),
        "color": {"field": "core", "type": "nominal", "scale": {"domain": cores, "range": list(SERIES[: len(cores)])}},
        "description": _SAID,
    }
    layer = [{"mark": {"type": "bar"}, "encoding": encoding}]
    return draw(_over(rows, layer, height={"step": 12 * len(cores) + 8, "for": "position"}), "Instructions by operator")


def histogram(series: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Draw distributions of latency, by name, as `findings.bench.latency` gives them."""
    rows = []
    for name, found in series:
        total = sum(found["counts"]) + found["left_out"]
        edges, counts = found["edges_ms"], [*found["counts"], 0]
        for edge, count in zip(edges, counts, strict=True):
            rows.append({"name": name, "ms": edge, "percent": 100 * count / total})
    mark = {"type": "area", "interpolate": "step-after", "line": {"strokeWidth": 1.5}, "fillOpacity": 0.25}
    return _lines(rows, mark, "ms", "ms of one inference", "percent", "% of inferences", "Distribution of latency")


def sustained(series: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> str:
    """Draw median latency over time, by name: (minutes, ms)."""
    rows = [{"name": name, "minutes": t, "ms": ms} for name, points in series for t, ms in points]
    mark = {"type": "line", "strokeWidth": 1.5}
    return _lines(
        rows, mark, "minutes", "minutes", "ms", "ms, median", "Sustained: median latency over time", zero=True
    )


def _lines(
    rows: Sequence[Mapping[str, Any]], mark: dict[str, Any], x: str, x_title: str, y: str, y_title: str, label: str,
    zero: bool = False,
) -> str:  # fmt: skip
    names = list(dict.fromkeys(row["name"] for row in rows))
    encoding = {
        "x": _quantity(x, x_title) | {"scale": {"zero": zero, "nice": False}},
        "y": _quantity(y, y_title) | ({"stack": None} if mark["type"] == "area" else {}),
        "color": {
            "field": "name",
            "type": "nominal",
            "scale": {"domain": names, "range": [SERIES[i % len(SERIES)] for i in range(len(names))]},
            "legend": {"columns": 1},
        },
    }
    return draw(_over(rows, [{"mark": mark, "encoding": encoding}], height=240), label)


def _over(rows: Sequence[Mapping[str, Any]], layer: Sequence[Mapping[str, Any]], **size: Any) -> dict[str, Any]:
    return {"data": {"values": list(rows)}, "width": WIDTH, **size, "layer": list(layer)}


def _names(field: str, sort: str | Sequence[str] | None = None) -> dict[str, Any]:
    return {"field": field, "type": "nominal", "sort": sort, "axis": _Y_LABELS}


def _quantity(field: str, title: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title or None}


def _rule(colour: str, dash: Sequence[int]) -> dict[str, Any]:
    return {"type": "rule", "color": colour, "strokeDash": list(dash), "aria": False}
