"""bench_arm's records as a report shows them."""

from typing import Any

from edge_vit.devices.results import COLUMNS, row
from edge_vit.emulation.report import by_operator, runtime

NUM_BINS = 60
_SLOWEST = 0.995  # beyond it the few slowest inferences would flatten the rest of a histogram


def counts(record: dict[str, Any]) -> dict[str, Any]:
    """Return one file's instructions on one core, by operator and kernel, most first."""
    return {
        "cpu": record["cpu"],
        "instructions": record["instructions"],
        "between_operators": record.get("between_operators"),
        "runtime": runtime(record),
        "operators": [
            {"kind": kind, "kernel": kernel, "times": len(found), "instructions": sum(found)}
            for kind, kernel, found in by_operator({"operators": []} | record)
        ],
    }


def latency(record: dict[str, Any]) -> dict[str, Any]:
    """Return one record's row of the table, its figures, histogram and sustained curve; times in ms and minutes."""
    samples = [us / 1000 for entry in record["rounds"] for us in entry.get("samples_us", [])]
    return {
        "device": record["device_name"],
        "device_model": record["device"].get("model"),
        "started": record["started"],
        "row": dict(zip(COLUMNS, row(record), strict=True)),
        "figures": record["figures"],
        "histogram": _histogram(samples) if samples and not record["emulated"] else None,
        "sustained": [[t / 60, us / 1000] for t, us in record["sustained"]],
    }


def _histogram(samples: list[float]) -> dict[str, Any]:
    """Count samples in bins of one width; `left_out` are slower than the last bin."""
    import numpy as np

    low, high = min(samples), float(np.quantile(samples, _SLOWEST))
    found, edges = np.histogram(samples, NUM_BINS, (low, high if high > low else low + 1e-3))
    return {"edges_ms": edges.round(5).tolist(), "counts": found.tolist(), "left_out": len(samples) - int(found.sum())}
