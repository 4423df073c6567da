"""What is refused before torch is loaded: weights that do not go with a request, and folders without pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

from calibration.paths import is_list
from converters.manifest import ClassLabel
from edge_vit.deployment.labels import check_count, read_labels
from edge_vit.models.limits import Resolution
from edge_vit.models.sources import WeightsSource, find_weights, no_ranges

if TYPE_CHECKING:
    from calibration.dataset import ImageSet


def choose_weights(
    name: str,
    choice: str,
    *,
    is_int8: bool,
    has_calibration: bool,
    resolution: Resolution | None,
    takes_raw: bool = False,
    may_lack_ranges: bool = False,
) -> WeightsSource:
    """Find the weights of a conversion and check that they go with what it asks for.

    Args:
        choice, takes_raw: As in `find_weights`.
        has_calibration: Whether int8 ranges are to be chosen from pictures.
        resolution: Side in pixels, or height and width, that is asked for; None for the weights' own.
        may_lack_ranges: Whether a quantized checkpoint may take what ranges it has none of from calibration.

    Raises:
        ValueError: If there are none, or they do not go together.
    """
    source = find_weights(name, choice, prefer_quantized=is_int8 and not has_calibration, takes_raw=takes_raw)
    if source.form == "int8" and not is_int8:
        raise ValueError(f"{source.label} is quantized; add --int8, or give float weights")
    if source.form == "int8" and has_calibration and not may_lack_ranges:
        raise ValueError(f"{source.label} carries its ranges; leave --calib out, or give float weights")
    if source.form != "int8" and is_int8 and not has_calibration:
        raise no_ranges(source.label)
    source.resolution_for(name, resolution)  # type: ignore[arg-type]  # compares it alone
    _ = source.float_source  # is there
    return source


def choose_labels(path: Path | None, source: WeightsSource) -> tuple[ClassLabel, ...]:
    """Read the class names that a user gives; () for none.

    Raises:
        ValueError: If they cannot be read, or are not as many as the weights say that they have classes.
    """
    if path is None:
        return ()
    labels = read_labels(path)
    if known := source.metadata.get("classes"):
        check_count(labels, len(known), path)
    return labels


def list_pictures(source: Path | None, split: str) -> "ImageSet | None":
    """List the pictures of a folder or of a list; None for none.

    Args:
        split: Of a list that names splits, the one to take.

    Raises:
        ValueError: If there is no such folder or list, or no picture in it.
    """
    if source is None:
        return None
    is_listed = is_list(source) and source.is_file()
    if not source.is_dir() and not is_listed:  # before numpy and Pillow are loaded
        raise ValueError(f"{source}: {'not a folder' if source.exists() else 'no such folder'}")
    from calibration.dataset import list_images
    from calibration.lists import list_labelled

    return list_labelled(source, split) if is_listed else list_images(source)
