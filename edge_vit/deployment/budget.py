"""Meet a budget of accuracy: measure on pictures which operators must stay in float, and record how it was found."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from calibration.dataset import BatchLoader, ImageSet, choose, skipped_lines
from edge_vit.deployment.pictures import Pictures, pictures_of
from edge_vit.deployment.sensitivity import BATCH, labelled
from edge_vit.evaluation.paired import PairedSums
from edge_vit.quantization.budget import rank, search
from edge_vit.quantization.costs import CPU
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.pipeline import (
    CalibrationMethod,
    FloatModel,
    Int8Graph,
    pixel_batches,
    prepare_int8,
    run_pixels,
)
from edge_vit.quantization.plan import make_plan
from edge_vit.quantization.simulate import Simulation

if TYPE_CHECKING:
    from edge_vit.evaluation.paired import PairedResult

NUM_RANKED_ON = 16  # pictures that concessions are ranked on
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Operators that stay in float, and the manifest's account of the search."""

    operators: tuple[str, ...]
    record: dict[str, Any]


def meet_budget(
    float_model: FloatModel,
    calibration: Pictures | None,
    method: CalibrationMethod,
    data: ImageSet,
    folder: Path,
    *,
    most: int,
    max_drop: float,
    say: Say,
) -> Budget:
    """Find the fewest operators in float with which top-1 drops by no more than the budget on pictures.

    Args:
        calibration: Pictures to choose ranges from; None where the weights carry them.
        data: Pictures by class, and `folder` where they lie.
        most: How many of them to take.
        max_drop: In points of top-1 against the float model.

    Raises:
        ValueError: If the pictures' classes are not the model's, or no network meets the budget.
    """
    loader = BatchLoader(choose(labelled(data, folder, float_model), most), float_model.preprocess, batch_size=BATCH)
    batches = [(batch.pixels, batch.labels) for batch in loader]
    for line in skipped_lines(loader.skipped):
        say(line)
    count = sum(len(labels) for _, labels in batches)
    say(f"looking for operators to leave in float, on {count} {pictures_of(data)}")
    floats = [run_pixels(float_model.module, pixels, BATCH) for pixels, _ in batches]
    pixels = None if calibration is None else pixel_batches(calibration.pixels, BATCH)
    made = prepare_int8(float_model, pixels, method, 2, is_free_batch=True)
    graph = export_graph(float_model.module, torch.zeros(1, *float_model.preprocess.size, 3))
    last: list[PairedResult] = []

    def drop_of(one: Int8Graph) -> float:
        last.append(_compared(one, batches, floats, len(float_model.classes)))
        return last[-1].drop_points

    ranked_on = [pixels for pixels, _ in batches[: NUM_RANKED_ON // BATCH]]
    single = graph, make_plan(graph)
    found = search(made, single, lambda: rank(made, single, ranked_on), drop_of, max_drop, say)
    result = next(one for one in reversed(last) if one.drop_points == found.drop_points)
    record = {
        "max_drop_points": max_drop,
        "drop_points": found.drop_points,
        "interval_points": list(result.interval_points),
        "data": f"{count} {pictures_of(data)}",
        "cpu": CPU,
        "instructions": round(found.instructions),
        "int8_instructions": round(found.int8_instructions),
        "concessions": [asdict(one) for one in found.concessions],
        "tried": [asdict(one) for one in found.steps],
    }
    return Budget(operators=found.operators, record=record)


def _compared(
    made: Int8Graph, batches: list[tuple[np.ndarray, np.ndarray]], floats: list[np.ndarray], num_classes: int
) -> "PairedResult":
    """Compare a network with the float model's logits."""
    simulation, sums = Simulation(made), PairedSums(num_classes)
    every = [layer.name for layer in simulation.layers]
    for (pixels, labels), exact in zip(batches, floats, strict=True):
        values = simulation.run(torch.from_numpy(pixels).float(), every)
        sums.add(exact, simulation.logits(values).numpy(), labels)
    return sums.result()
