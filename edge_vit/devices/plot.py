"""Draw measurements as SVG: the distribution of latency, and latency over time. Needs nothing installed."""

from collections.abc import Sequence
from pathlib import Path

from edge_vit.devices.results import write_whole
from edge_vit.reports.lines import page, panel

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
    write_whole(path, page(panels))


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
    return panel("Distribution of latency", "ms", "% of inferences", (low, high), (0, top), lines, names)


def _curve(series: Sequence[tuple[str, list[tuple[float, float]]]]) -> str:
    lines = [(i, points) for i, (_, points) in enumerate(series)]
    end = max(points[-1][0] for _, points in lines)
    top = max(y for _, points in lines for _, y in points) * 1.1
    names = [name for name, _ in series]
    return panel("Sustained: median latency over time", "minutes", "ms", (0, end or 1), (0, top), lines, names)
