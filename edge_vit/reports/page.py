"""Write a report's plain values as one HTML page that needs nothing else: no script, no request, no font of its own."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_vit.reports import charts, graph, summary
from edge_vit.reports.load import snippets
from edge_vit.reports.rows import FILTERS
from edge_vit.reports.svg import check_library

_FOLDER = Path(__file__).parent / "templates"
# What the page may load: pictures that it holds, and the one style sheet whose digest this is.
_POLICY = "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"


def check_libraries() -> None:
    """Raise ImportError unless what renders pages is installed; the message names the extra."""
    check_library()
    _environment()


def render(values: Mapping[str, Any], thumbnails: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        values: What `findings.gather` gathered.
        thumbnails: Pictures that flipped, by path, as data URIs.

    Raises:
        ImportError: If a library is missing; the message names the extra.
    """
    environment = _environment()
    style = _style(environment)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    artefacts = [_artefact(a, f"file{i}", environment) for i, a in enumerate(values["artefacts"], 1)]
    text: str = environment.get_template("page.html").render(
        title=summary.title(values["artefacts"]),
        policy=_POLICY.format(digest),
        style=style,
        values=values,
        artefacts=artefacts,
        comparison=summary.side_by_side(values["artefacts"]),
        sizes=charts.sizes(values["artefacts"]) if len(artefacts) > 1 else None,
        drops=_drops(values["artefacts"]),
        latency=_latency(values["artefacts"]),
        thumbnails=thumbnails,
        legend=graph.LEGEND,
        heat_limits=graph.HEAT_LIMITS,
    )
    return text


def render_try(title: str, imports: str) -> str:
    """Return the page that runs files in the browser, see findings/serve.py.

    Args:
        title: The files' names.
        imports: The import map, JSON.

    Raises:
        ImportError: If a library is missing; the message names the extra.
    """
    import markupsafe

    template = _environment().get_template("try/index.html")
    text: str = template.render(title=title, imports=markupsafe.Markup(imports))
    return text


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as e:
        raise ImportError("writing a report needs Jinja; pip install 'edge_vit[report]'") from e
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    environment.filters |= FILTERS
    return environment


def _style(environment: Any) -> str:
    """Return the style sheet, with a colour for every precision and step of cost in the network's graph."""
    text: str = environment.get_template("page.css").render(
        precisions=graph.PRECISIONS, heats=range(len(graph.HEAT_LIMITS) + 1)
    )
    return text


def _artefact(artefact: Mapping[str, Any], key: str, environment: Any) -> dict[str, Any]:
    """Return what one artefact's chapter shows beside its plain values."""
    network, accuracy = artefact["network"], artefact["accuracy"]
    block_rows = summary.blocks(network)
    has_counts = any(record["operators"] for record in artefact["instructions"])
    return {
        "key": key,
        "facts": artefact,
        "what": summary.what_it_is(artefact),
        "tiles": summary.tiles(artefact),
        "snippets": snippets(artefact["manifest"], environment),
        "blocks": [
            row | {"svg": graph.draw_block(network["operators"], row["start"], row["end"], row["label"])}
            for row in block_rows
        ],
        "block_chart": charts.blocks(block_rows, network["cost_unit"]),
        "operators_chart": charts.operators(artefact["manifest"]["operators"]["counts"])
        if artefact["manifest"]["operators"]["counts"]
        else None,
        "ranges_chart": charts.ranges(artefact["ranges"]) if artefact["ranges"] else None,
        "sensitivity_chart": charts.sensitivity(artefact["sensitivity"]["layers"]) if artefact["sensitivity"] else None,
        "instructions_chart": charts.instructions(artefact["instructions"]) if has_counts else None,
        "class_chart": charts.by_class(accuracy["classes"]) if accuracy and accuracy["confusion"] else None,
        "reliability_chart": charts.reliability(
            {"float": accuracy["float_reliability"], "this file": accuracy["reliability"]}
        )
        if accuracy
        else None,
        "confusion": summary.confusion(accuracy) if accuracy else None,
    }


def _is_told(row: Sequence[tuple[str, str]]) -> bool:
    """Tell whether any record has a figure in a row of names and cells."""
    return any(cell != "-" for _, cell in row)


def _drops(artefacts: Sequence[Mapping[str, Any]]) -> str | None:
    measured = [(a["name"], a["accuracy"]["overall"]) for a in artefacts if a["accuracy"]]
    rows = [
        {"name": name, "drop": o["drop_points"], "low": o["interval_points"][0], "high": o["interval_points"][1]}
        for name, o in measured
    ]
    return charts.drops(rows) if rows else None


def _latency(artefacts: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the table of records and the two charts; None without records."""
    records = [record for artefact in artefacts for record in artefact["latency"]]
    if not records:
        return None
    named = [(f"{r['row']['model']} on {r['device']}", r) for r in records]
    histograms = [(name, r["histogram"]) for name, r in named if r["histogram"]]
    curves = [(name, r["sustained"]) for name, r in named if len(r["sustained"]) > 1]
    return {
        "rows": [row for row in zip(*(record["row"].items() for record in records), strict=True) if _is_told(row)],
        "histogram": charts.histogram(histograms) if histograms else None,
        "curves": [[name, f"{t:.2f}", f"{ms:.3f}"] for name, points in curves for t, ms in points],
        "sustained": charts.sustained(curves) if curves else None,
    }
