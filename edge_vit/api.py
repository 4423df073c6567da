"""What the commands do, from Python. Every function says what it takes and raises; progress is given to callers.

api.export(ConvertConfig(model="levit_128s", target="tflite", precision="int8"))
api.evaluate(AccuracyConfig(artefact=Path("artifacts/levit_128s_int8.tflite"), data=Path("DIR/val")))
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_vit.deployment import make
from edge_vit.deployment.request import ConvertConfig, ConvertedSet
from edge_vit.evaluation import comparison
from edge_vit.evaluation.comparison import AccuracyConfig, AccuracyResult

if TYPE_CHECKING:
    from torch import nn

__all__ = ["AccuracyConfig", "ConvertConfig", "create", "evaluate", "export"]


def create(name: str, num_classes: int = 1000, resolution: "int | tuple[int, int] | None" = None) -> "nn.Module":
    """Create a variant in its training form with initial weights.

    In eval mode it maps images (B, 3, R, R), float32, normalised, to logits (B, num_classes).

    Args:
        resolution: Side of the images in pixels, or height and width; None for the variant's own.

    Raises:
        ValueError: If the name is unknown, or the variant does not allow the resolution.
    """
    from edge_vit.models import create_model

    return create_model(name, num_classes, resolution)


def export(request: ConvertConfig, say: Callable[[str], None] = lambda line: None) -> ConvertedSet:
    """Convert a variant to the files that are asked for, each verified, each with its manifest; all appear or none.

    Args:
        say: Called with progress, line by line.

    Raises:
        ValueError: If model, weights, data or folder do not fit; the message says what to do.
        ImportError: If a target's package is missing; the message names the extra.
        RuntimeError: If a written file does not compute what it should.
    """
    return make.run(request, say)


def evaluate(
    request: AccuracyConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> AccuracyResult:
    """Run an artefact and its float model over labelled pictures; compare top-1 in percent, drops in points.

    Args:
        progress: Called with pictures done and in all.

    Raises:
        ValueError: If the artefact, the data or their classes do not fit; the message says which.
        ImportError: If the artefact's runtime is missing; the message names the extra.
    """
    return comparison.run(request, progress)
