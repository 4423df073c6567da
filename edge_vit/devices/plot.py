"""Draw measurements as SVG: the distribution of latency, and latency over time. Needs nothing installed."""

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from edge_vit.devices.results import write_whole

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 320, 70, 50, 40, 20
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a")
BINS = 60


def check_plot(path: Path) -> None:
    """Raise a ValueError unless the path is one that can be drawn to."""
    if path.suffix != ".svg":
        raise ValueError(f"--plot {path.name}: only .svg can be drawn")


def write_plot(path: Path, plains: Sequence[dict]) -> None:
    """Write one SVG with the distribution of each record's latencies and, where there is one, its sustained curve.

    Raises:
        ValueError: If the path is no .svg, no record has anything to draw (emulated ones have no times), or the file
            cannot be written.
    """
    check_plot(path)
    distributions = []
    curves = []
    for p in plains:
        label = f"{p['model']} on {p['device_name']}"
        samples = [us / 1000 for entry in p["rounds"] for us in entry.get("samples_us", [])]
        if samples:
            distributions.append((label, samples))
        if p["sustained"]:
            curves.append((label, [(t / 60, us / 1000) for t, us in p["sustained"]]))
    panels = []
    if distributions:
        panels.append(_distribution(distributions))
    if curves:
        panels.append(_curve(curves))
    if not panels:
        raise ValueError("nothing to plot: no record keeps samples (emulated devices and benchmark_model have none)")
    height = HEIGHT * len(panels)
    body = "".join(f'<g transform="translate(0 {HEIGHT * i})">{panel}</g>' for i, panel in enumerate(panels))
    write_whole(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{body}</svg>\n',
    )


def _distribution(series: Sequence[tuple[str, list[float]]]) -> str:
    """Draw step histograms over a common range that leaves out the slowest 0.5%, which would flatten the rest."""
    cut = [sorted(values)[int((len(values) - 1) * 0.995)] for _, values in series]
    low, high = min(min(values) for _, values in series), max(cut)
    high = high if high > low else low + 1
    lines = []
    for i, (_, values) in enumerate(series):
        counts = [0] * BINS
        for value in values:
            if value <= high:
                counts[min(BINS - 1, int((value - low) / (high - low) * BINS))] += 1
        shares = [100 * count / len(values) for count in counts]
        steps = []
        for k, share in enumerate(shares):
            left, right = (low + (high - low) * edge / BINS for edge in (k, k + 1))
            steps += [(left, share), (right, share)]
        lines.append((i, [(low, 0.0), *steps, (high, 0.0)]))
    top = max(y for _, points in lines for _, y in points)
    names = [name for name, _ in series]
    return _panel("Distribution of latency", "ms", "% of inferences", (low, high), (0, top), lines, names)


def _curve(series: Sequence[tuple[str, list[tuple[float, float]]]]) -> str:
    lines = [(i, points) for i, (_, points) in enumerate(series)]
    end = max(points[-1][0] for _, points in lines)
    top = max(y for _, points in lines for _, y in points) * 1.1
    names = [name for name, _ in series]
    return _panel("Sustained: median latency over time", "minutes", "ms", (0, end or 1), (0, top), lines, names)


def _panel(
    title: str,
    x_name: str,
    y_name: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    lines: Sequence[tuple[int, Sequence[tuple[float, float]]]],
    names: Sequence[str],
) -> str:
    """Draw axes with five ticks each, the lines, and their names."""

    def x_of(value: float) -> float:
        return LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (value - y_range[0]) / (y_range[1] - y_range[0] or 1) * (HEIGHT - BOTTOM - TOP)

    parts = [f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    for k in range(5):
        x = x_range[0] + (x_range[1] - x_range[0]) * k / 4
        y = y_range[0] + (y_range[1] - y_range[0]) * k / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y_of(y) + 4:.1f}" text-anchor="end">{y:.3g}</text>')
        parts.append(f'<text x="{x_of(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:.4g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})">{escape(y_name)}</text>')
    for i, points in lines:
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="{20 + 16 * i}" text-anchor="end" fill="{colour}">{escape(names[i])}</text>'
        )
    return "".join(parts)
