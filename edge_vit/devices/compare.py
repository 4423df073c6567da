"""Compare a device's outputs with this machine's own, and models with each other."""

from collections.abc import Sequence
from pathlib import Path

from edge_vit.devices import host_run, stats, tflite_file
from edge_vit.devices.records import Record


def with_host(model: Path, output: bytes, cache_dir: Path | None = None) -> tuple[bool | None, float | None]:
    """Compare outputs with those of the LiteRT installed here, from the same seeded input.

    Returns:
        Whether they are byte-equal, and for float outputs the largest difference; None for both where no LiteRT is
        installed.
    """
    interface = tflite_file.read_interface(model)
    try:
        expected = host_run.reference_output(model, host_run.seeded_inputs(interface.inputs), cache_dir)
    except ValueError:
        return None, None  # nothing here to compare with is no failure of the device
    if output == expected:
        return True, 0.0
    if len(output) != len(expected) or any(t.dtype != "float32" for t in interface.outputs):
        return False, None
    import numpy as np

    difference = np.abs(np.frombuffer(output, np.float32) - np.frombuffer(expected, np.float32))
    return False, float(difference.max())


def outputs(models: Sequence[Path], records: Sequence[Record], cache_dir: Path) -> None:
    """Fill in how each record's output compares with this machine's, where a runner returned one."""
    for model, record in zip(models, records, strict=True):
        if record.output and record.runner.get("name") == "litert_runner" and record.device_name != "local":
            record.output_equals_host, record.output_max_difference = with_host(model, record.output, cache_dir)


def ratios(records: Sequence[Record]) -> None:
    """Fill in each record's median latency over the first one's."""
    base = records[0]
    for record in records[1:]:
        if record.emulated or base.emulated or record.failure or base.failure:
            continue
        mine, theirs = ([_values(entry) for entry in r.rounds] for r in (record, base))
        if all(mine) and all(theirs) and mine and theirs:
            record.ratio = stats.ratio(mine, theirs).as_dict()


def _values(entry: dict) -> list[float]:
    """Return a round's samples, or its median where the runner kept none."""
    return entry["samples_us"] or ([entry["summary"]["median"]] if "median" in entry["summary"] else [])
