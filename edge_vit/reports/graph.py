"""A block of a network as a small graph: a box an operator, from left to right as the values flow."""

from collections.abc import Sequence
from typing import Any

from edge_vit.reports.layout import place
from edge_vit.reports.svg import draw

PITCH_X, PITCH_Y, BOX_W, BOX_H, MARGIN = 25, 22, 19, 16, 6
HEAT_LIMITS = (0.001, 0.003, 0.01, 0.03)  # shares of the cost at which the next colour begins
PRECISIONS = ("int8", "int16", "fp16", "float32", "weights_only", "boundary", "other")
# What stands in a box. Operators that only move values have none; they are small.
_SIGNS = {
    "depthwise": "D", "conv": "C", "fully": "L", "linear": "L", "batch_matmul": "M", "batchmatrixmultiply": "M",
    "matmul": "M", "add": "+", "sub": "−", "mul": "×", "div": "÷", "softmax": "S", "mean": "μ", "globalavgpool": "μ",
    "avg": "μ", "average": "μ", "reduce_mean": "μ", "sum": "Σ", "logistic": "σ", "sigmoid": "σ", "hard_swish": "h",
    "hardswish": "h", "clamp": "r", "relu": "r", "gelu": "g", "max": "▲", "rsqrt": "√", "dequantize": "f",
    "quantize": "q", "convert": "q", "cast": "q",
}  # fmt: skip
LEGEND = (
    ("C", "convolution"), ("D", "depthwise convolution"), ("L", "linear layer"), ("M", "matrix product"),
    ("S", "softmax"), ("+ − × ÷", "arithmetic"), ("μ Σ", "mean, sum"), ("h r g σ", "hardswish, ReLU, GELU, sigmoid"),
    ("q f", "into integers, into floats"), ("·", "moves values only"),
)  # fmt: skip


def sign(kind: str) -> str:
    """Return the letter of an operator; "" for one that only moves values."""
    plain = kind.lower()
    return next((letter for start, letter in _SIGNS.items() if plain.startswith(start)), "")


def heat(share: float | None) -> int:
    """Return the step of a share of the cost by `HEAT_LIMITS`; 0 where nothing is known."""
    return sum((share or 0.0) >= limit for limit in HEAT_LIMITS)


def draw_block(operators: Sequence[dict[str, Any]], start: int, end: int, label: str) -> str:
    """Draw the operators from `start` to before `end`; what they read of others comes in at the left.

    Each box is filled with the page's variable --node-PRECISION-HEAT and written in --node-ink-PRECISION-HEAT.
    """
    outside = sorted({s for op in operators[start:end] for s in op["sources"] if not start <= s < end})
    at = {source: i for i, source in enumerate(outside)} | {i: i - start + len(outside) for i in range(start, end)}
    own = operators[start:end]
    placed = place([() for _ in outside] + [[at[s] for s in op["sources"] if s in at] for op in own])
    left = [MARGIN + PITCH_X * p.column for p in placed]
    middle = [MARGIN + PITCH_Y * p.lane + BOX_H / 2 for p in placed]
    width, height = max(left) + BOX_W + MARGIN, max(middle) + BOX_H / 2 + MARGIN
    boxes = [_box(op, left[at[start + i]], middle[at[start + i]]) for i, op in enumerate(own)]
    lines = [
        point
        for i, op in enumerate(own)
        for source in op["sources"]
        for point in _line(left, middle, at[source], at[start + i])
    ]
    dots = [{"x": left[i] + BOX_W / 2, "y": middle[i]} for i in range(len(outside))]
    layer = [_lines_layer(lines), _dots_layer(dots), _boxes_layer(boxes), _signs_layer(boxes)]
    scales = {"x": {"scale": {"domain": [0, width]}}, "y": {"scale": {"domain": [height, 0]}}}
    for part in layer:
        for axis, scale in scales.items():
            part["encoding"][axis] |= {"type": "quantitative", "axis": None} | scale
    return draw({"width": width, "height": height, "padding": 0, "layer": layer}, label)


def _line(left: Sequence[float], middle: Sequence[float], there: int, here: int) -> list[dict[str, Any]]:
    """Return the points of a line that keeps the lane of where it begins until just before where it ends."""
    begin, end = left[there] + BOX_W / 2, left[here] + BOX_W / 2
    bend = max(begin, left[here] - (PITCH_X - BOX_W) / 2 - 2)
    points = [(begin, middle[there]), (bend, middle[there]), (left[here] + 2, middle[here]), (end, middle[here])]
    return [{"edge": f"{there}-{here}", "step": k, "x": x, "y": y} for k, (x, y) in enumerate(points)]


def _lines_layer(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    encoding = {
        "x": {"field": "x"},
        "y": {"field": "y"},
        "detail": {"field": "edge"},
        "order": {"field": "step", "type": "quantitative"},
    }
    mark = {"type": "line", "stroke": "var(--edge)", "strokeWidth": 1.3, "aria": False}
    return {"data": {"values": points}, "mark": mark, "encoding": encoding}


def _dots_layer(dots: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mark = {"type": "circle", "size": 24, "fill": "var(--edge)", "opacity": 1, "aria": False}
    return {"data": {"values": dots}, "mark": mark, "encoding": {"x": {"field": "x"}, "y": {"field": "y"}}}


def _boxes_layer(boxes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    encoding = {
        "x": {"field": "x"},
        "x2": {"field": "x2"},
        "y": {"field": "y"},
        "y2": {"field": "y2"},
        "fill": {"field": "fill", "type": "nominal", "scale": None},
        "description": {"field": "said", "type": "nominal"},
    }
    return {
        "data": {"values": boxes},
        "mark": {"type": "rect", "cornerRadius": 4, "opacity": 1},
        "encoding": encoding,
    }


def _signs_layer(boxes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    encoding = {
        "x": {"field": "middle_x"},
        "y": {"field": "middle_y"},
        "text": {"field": "sign", "type": "nominal"},
        "fill": {"field": "ink", "type": "nominal", "scale": None},
    }
    mark = {"type": "text", "fontSize": 10, "fontWeight": 600, "aria": False, "opacity": 1}
    return {"data": {"values": [box for box in boxes if box["sign"]]}, "mark": mark, "encoding": encoding}


def _box(operator: dict[str, Any], left: float, middle: float) -> dict[str, Any]:
    letter = sign(operator["kind"])
    precision = operator["precision"] if operator["precision"] in PRECISIONS else "other"
    name = f"{precision}-{heat(operator['cost_share'])}"
    half_w, half_h = (BOX_W / 2, BOX_H / 2) if letter else (4, 4)
    x = left + BOX_W / 2
    return {
        "x": x - half_w,
        "x2": x + half_w,
        "y": middle - half_h,
        "y2": middle + half_h,
        "middle_x": x,
        "middle_y": middle + 0.5,
        "sign": letter,
        "fill": f"var(--node-{name})",
        "ink": f"var(--node-ink-{name})",
        "said": describe(operator),
    }


def describe(operator: dict[str, Any]) -> str:
    """Return an operator in one line: kind, precision, module, shape, cost."""
    parts = [operator["kind"], operator["precision"], operator["name"]]
    parts.append(" x ".join(map(str, operator["shape"])))
    if operator["multiply_adds"]:
        parts.append(f"{operator['multiply_adds'] / 1e6:.2f} M multiply-adds")
    if operator["cost_share"]:
        parts.append(f"{operator['cost_share']:.2%} of the cost")
    return ", ".join(part for part in parts if part)
