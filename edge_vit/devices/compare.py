"""Compare a device's outputs with this machine's own, and models with each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.tflite.reader import read_model
from edge_vit.devices import host_run, stats
from edge_vit.devices.records import Record, values_us
from edge_vit.devices.runner_build import MissingLiteRTError


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How an output compares with this machine's own.

    Attributes:
        equals_host: Whether they are byte-equal; None where nothing was compared.
        max_difference: The largest difference of float outputs that are not equal, 0 of equal ones; else None.
        not_compared: Why nothing was compared; None also where no LiteRT is installed here to compare with.
    """

    equals_host: bool | None = None
    max_difference: float | None = None
    not_compared: str | None = None

    def as_fields(self) -> dict:
        """Return it as a record's fields."""
        return {
            "output_equals_host": self.equals_host,
            "output_max_difference": self.max_difference,
            "output_not_compared": self.not_compared,
        }


def with_host(model: Path, output: bytes, cache_dir: Path | None = None) -> Comparison:
    """Compare outputs with those of the runtime installed here, from the same seeded input.

    What keeps this machine from running the model is told in the comparison: the device's own figures stand.
    """
    try:
        inputs = host_run.seeded_inputs(host_run.model_inputs(model))
        expected = host_run.reference_output(model, inputs, cache_dir)
    except (MissingLiteRTError, ImportError):
        return Comparison()
    except ValueError as e:
        return Comparison(not_compared=str(e))
    if output == expected:
        return Comparison(equals_host=True, max_difference=0.0)
    is_float = model.suffix == ".pte" or all(t.dtype == "float32" for t in read_model(model).output_tensors)
    if len(output) != len(expected) or not is_float:
        return Comparison(equals_host=False)
    import numpy as np

    difference = np.abs(np.frombuffer(output, np.float32) - np.frombuffer(expected, np.float32))
    return Comparison(equals_host=False, max_difference=float(difference.max()))


def outputs_(models: Sequence[Path], records: Sequence[Record], cache_dir: Path | None) -> None:
    """Fill in how each record's output compares with this machine's, where a runner returned one."""
    for model, record in zip(models, records, strict=True):
        if record.output and record.runner.get("name") == "litert_runner" and record.device_name != "local":
            for name, value in with_host(model, record.output, cache_dir).as_fields().items():
                setattr(record, name, value)


def ratios_(records: Sequence[Record]) -> None:
    """Fill in each record's latency over the first one's."""
    base = records[0]
    for record in records[1:]:
        if record.emulated or base.emulated or record.failure or base.failure:
            continue
        mine, theirs = ([values_us(entry) for entry in r.rounds] for r in (record, base))
        if mine and all(mine) and all(theirs):
            record.ratio = stats.ratio(mine, theirs).as_dict()
