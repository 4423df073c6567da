"""What the benchmarks share: files that take turns on one machine, and what child processes cost."""

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

from calibration.preprocess import Preprocess
from converters.artefact import open_artefact
from edge_vit.deployment.pictures import drawn_pictures

_WARM_UP_TURNS = 20


def time_in_turns(
    paths: dict[str, Path], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return milliseconds of single inferences, one thread; which file goes first is drawn anew every round."""
    artefacts = {name: open_artefact(path, threads=1) for name, path in paths.items()}
    any_info = next(iter(artefacts.values())).manifest.input
    pixels = drawn_pictures(Preprocess(**any_info.preprocess_fields()), 1).pixels
    samples: dict[str, list[float]] = {name: [] for name in artefacts}
    order = random.Random(0)
    for turn in range(rounds + _WARM_UP_TURNS):
        names = list(artefacts)
        order.shuffle(names)
        for name in names:
            started = clock()
            artefacts[name].run(pixels)
            if turn >= _WARM_UP_TURNS:
                samples[name].append(1e3 * (clock() - started))
    return samples


def children_seconds() -> float:
    """Return the processor time, in seconds, of this process's ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
