"""Charts as SVG to stand in a page: Vega-Lite draws them while the page is written, so that the page runs no script.

Colours are the page's own CSS variables, which Vega hands through, so that a chart follows light and dark.
"""

import math
from typing import Any
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # a name; nothing is fetched
_WIDER = 1.4  # pixels a letter, of labels of 11 pixels
_TEXT = {"labelColor": "var(--muted)", "titleColor": "var(--ink)", "labelFontSize": 11, "titleFontSize": 12}
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": _TEXT
    | {
        "gridColor": "var(--line)",
        "domainColor": "var(--muted)",
        "tickColor": "var(--muted)",
        "titleFontWeight": "normal",
    },
    "legend": _TEXT | {"orient": "top", "title": None, "labelLimit": 400},
    "header": _TEXT,
    "title": {"color": "var(--ink)", "fontSize": 12, "anchor": "start", "fontWeight": 600},
}


def draw(spec: dict[str, Any], label: str) -> str:
    """Draw a Vega-Lite specification; what a mark's `description` says is shown when a pointer rests on it.

    Args:
        label: What the chart shows, for those who cannot see it.

    Raises:
        ImportError: If the library that draws is missing; the message names the extra.
        ValueError: If the specification is wrong.
    """
    drawn = _vega().vegalite_to_svg({"$schema": _SCHEMA, "config": _CONFIG, **spec})
    root = ElementTree.fromstring(drawn)
    _tidy_(root)
    left = _room(root)
    width, height = (int(float(side)) for side in root.attrib["viewBox"].split()[2:])
    root.attrib.clear()
    root.attrib |= {"class": "chart", "role": "img", "aria-label": label}
    root.attrib |= {"width": str(width + left), "height": str(height), "viewBox": f"{-left} 0 {width + left} {height}"}
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def check_library() -> None:
    """Raise ImportError unless charts can be drawn."""
    _vega()


def _vega() -> Any:
    try:
        import vl_convert
    except ImportError as e:
        raise ImportError("drawing a report needs vl-convert; pip install 'edge_vit[report]'") from e
    return vl_convert


def _room(root: ElementTree.Element) -> int:
    """Return how much wider labels at the left may be in a reader's font than in the one that Vega measured."""
    texts = (t for t in root.iter(f"{{{_SVG}}}text") if t.attrib.get("text-anchor") == "end")
    return math.ceil(_WIDER * max((len(text.text or "") for text in texts), default=0))


def _tidy_(element: ElementTree.Element) -> None:
    """Turn what Vega says of a mark into its title, and drop what is never seen."""
    for child in list(element):
        if child.attrib.get("display") == "none" or child.attrib.get("d") == "M0,0h0v0h0Z":
            element.remove(child)
            continue
        _tidy_(child)
    said = element.attrib.get("aria-label")
    is_mark = element.attrib.get("aria-roledescription") not in (None, "axis", "legend", "title")
    for name in [n for n in element.attrib if n.startswith("aria-") or n in ("role", "class", "pointer-events")]:
        del element.attrib[name]
    if element.attrib.get("opacity") == "1":
        del element.attrib["opacity"]
    if said and is_mark:
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = said
        element.insert(0, title)
