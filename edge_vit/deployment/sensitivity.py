"""Which layer loses the accuracy: an int8 network measured on pictures, layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_vit.deployment.checks import choose_weights, list_pictures
from edge_vit.deployment.request import NUM_CALIBRATION_PICTURES, CalibrationMethod
from edge_vit.models.limits import Resolution
from edge_vit.models.own import check_network, find_network, find_own_weights

if TYPE_CHECKING:
    from calibration.dataset import ImageSet
    from edge_vit.quantization.pipeline import FloatModel
    from edge_vit.quantization.sensitivity import Sensitivity

NUM_PICTURES = 64
NUM_PICTURES_OF_A_FILE = 8
BATCH = 8
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SensitivityConfig:
    """What to measure; `python -m edge_vit.sensitivity --help` says what each field is.

    Raises:
        ValueError: If values are not allowed or do not go together.
    """

    model: str
    data: Path
    images: int | None = None
    artefact: Path | None = None
    weights: str = "auto"
    raw_weights: bool = False
    calib: Path | None = None
    calib_images: int = NUM_CALIBRATION_PICTURES
    calib_method: CalibrationMethod = "corrected"
    resolution: Resolution | None = None

    def __post_init__(self) -> None:
        check_network(self.model, self.resolution, mean=None, std=None, crop=None)
        for name in ("images", "calib_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value} is not allowed; use 1 or more")
        asked = {
            "--weights": self.weights != "auto", "--raw-weights": self.raw_weights, "--calib": self.calib is not None,
            "--resolution": self.resolution is not None,
        }  # fmt: skip
        if self.artefact is not None and (given := [flag for flag, is_given in asked.items() if is_given]):
            raise ValueError(f"{given[0]} does not go with --artefact, which says itself what it was made of")

    @property
    def num_images(self) -> int:
        """How many pictures; a file is run picture by picture, and so on fewer by default."""
        return self.images or (NUM_PICTURES if self.artefact is None else NUM_PICTURES_OF_A_FILE)


@dataclass(frozen=True, kw_only=True, slots=True)
class SensitivityResult:
    """What was measured: `precision` says how the ranges were found, `weights` and `data` on what."""

    model: str
    precision: str
    weights: str
    data: str
    loss: Literal["labels", "float answers"]
    measured: "Sensitivity"
    skipped: tuple[str, ...]


def run(config: SensitivityConfig, say: Say = lambda line: None) -> SensitivityResult:
    """Measure every layer of an int8 network on pictures.

    Args:
        say: Called with progress, line by line.

    Raises:
        ValueError: If model, weights or pictures do not fit; the message says what to do.
    """
    own = find_network(config.model, config.resolution)
    asked = {"is_int8": True, "has_calibration": config.calib is not None, "takes_raw": config.raw_weights}
    if own is not None:
        source = find_own_weights(own, config.weights, **asked)
    else:
        source = choose_weights(config.model, config.weights, resolution=config.resolution, **asked)
    calib, data = list_pictures(config.calib, "train"), list_pictures(config.data, "val")
    assert data is not None
    # From here on torch is loaded: what is wrong with a request has been said.
    from calibration.dataset import BatchLoader, choose, skipped_lines
    from edge_vit.deployment.pictures import choose_pictures, pictures_of
    from edge_vit.quantization.own_float import build_own
    from edge_vit.quantization.pipeline import build_float, pixel_batches, prepare_int8
    from edge_vit.quantization.sensitivity import measure_layers
    from edge_vit.quantization.simulate import Simulation

    if own is not None:
        float_model, source = build_own(own, source)
    else:
        float_model = build_float(config.model, source, config.resolution)
    for note in float_model.notes:
        say(note)
    images = choose(labelled(data, config.data, float_model), config.num_images)
    batches = None
    if calib is not None:
        calibration, _ = choose_pictures(float_model.preprocess, calib, config.calib_images, data, say)
        assert calibration is not None
        batches = pixel_batches(calibration.pixels, BATCH)
    prepared = prepare_int8(float_model, batches, config.calib_method, 2, is_free_batch=True)
    simulation = Simulation(prepared)
    loader = BatchLoader(images, float_model.preprocess, batch_size=BATCH)
    say(f"measuring {len(simulation.layers)} layers on {len(images)} {pictures_of(data)}")
    pairs = ((batch.pixels, batch.labels) for batch in loader)
    measured = measure_layers(simulation, pairs, lambda done: say(f"{done}/{len(images)} pictures"))
    return SensitivityResult(
        model=config.model,
        precision=prepared.precision,
        weights=source.label,
        data=f"{measured.num_images} {pictures_of(data)}",
        loss="float answers" if measured.float_top1 is None else "labels",
        measured=measured,
        skipped=tuple(skipped_lines(loader.skipped)),
    )


def labelled(images: "ImageSet", source: Path, float_model: "FloatModel") -> "ImageSet":
    """Return pictures whose labels are the model's classes; of a flat folder they stay unknown.

    Raises:
        ValueError: If a folder is no class of the model's.
    """
    from calibration.dataset import match_classes, read_class_names
    from calibration.paths import is_list
    from converters.manifest import ClassLabel

    if not images.folders:
        return images
    classes = [ClassLabel(id=entry["id"], name=entry["name"]) for entry in float_model.classes]
    folder = source.parent if is_list(source) else source
    return images.relabel(match_classes(images.folders, classes, read_class_names(folder)))
