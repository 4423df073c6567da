"""What pictures show of an artefact: its accuracy beside its float model's, and the pictures behind the figures."""

import base64
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from calibration.dataset import Batch
    from edge_vit.evaluation.comparison import Prepared

THUMBNAIL_SIDE = 128
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One artefact on pictures.

    Attributes:
        values: Plain values: those of `accuracy --json` and of `evaluation.details.Details`, and both top-1 intervals.
        thumbnails: Path of a flipped picture -> what the network saw of it, small, as a data URI.
        choices: Path of every picture -> the class that the artefact names, by its place.
        skipped: Warnings of pictures that could not be read.
    """

    values: dict[str, Any]
    thumbnails: dict[str, str]
    choices: dict[str, int]
    skipped: tuple[str, ...]


def measure(ready: "Prepared", progress: Callable[[int, int], None]) -> Measured:
    """Run an artefact and its float model over pictures; raises as `comparison.compare`."""
    from calibration.dataset import skipped_lines
    from converters.manifest import storable_db
    from edge_vit.evaluation import comparison
    from edge_vit.evaluation.details import DetailsSums
    from edge_vit.evaluation.paired import proportion_interval

    sums = DetailsSums(len(ready.manifest.classes))
    choices: dict[str, int] = {}

    def watch(batch: "Batch", float_shares: "np.ndarray", shares: "np.ndarray") -> None:
        sums.add(batch, float_shares, shares)
        choices.update(zip(map(str, batch.paths), shares.argmax(1).tolist(), strict=True))

    result = comparison.compare(ready, progress, watch)
    skipped = tuple(skipped_lines(result.skipped))
    overall = replace(result.overall, sqnr_db=storable_db(result.overall.sqnr_db))
    result = replace(result, overall=overall, skipped=())
    num = result.overall.num_images
    names = [label.name for label in ready.manifest.classes]
    intervals = {
        f"{name}_interval": proportion_interval(round(getattr(result.overall, name) * num / 100), num)
        for name in ("float_top1", "artefact_top1")
    }
    return Measured(
        values=asdict(result) | intervals | asdict(sums.result()) | {"class_names": names},
        thumbnails={path: thumbnail(pixels) for path, pixels in sums.pixels.items()},
        choices=choices,
        skipped=skipped,
    )


def thumbnail(pixels: "np.ndarray") -> str:
    """Return a picture (H, W, 3), uint8, no larger than THUMBNAIL_SIDE, as a data URI."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
