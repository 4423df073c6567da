"""The pictures of a conversion: to choose ranges from, to verify files on, to compare them on."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from calibration.dataset import BatchLoader, ImageSet, SkippedImage, choose, skipped_lines
from calibration.preprocess import Preprocess, resize_and_crop

NUM_PICTURES = 32  # to verify on
FEW_PICTURES = 32  # fewer give ranges that real pictures leave
_SAID_EVERY_S = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pixels (N, R, R, 3), uint8, and what kind of pictures they are: "drawn pictures", "pictures of val/"."""

    pixels: np.ndarray
    kind: str
    skipped: tuple[SkippedImage, ...] = ()

    @property
    def description(self) -> str:
        return f"{len(self.pixels)} {self.kind}"

    def split(self, at: int) -> "tuple[Pictures, Pictures]":
        """Return the first `at` pictures and the rest; from the end where `at` is negative."""
        return replace(self, pixels=self.pixels[:at]), replace(self, pixels=self.pixels[at:])


def load_pictures(images: ImageSet, preprocess: Preprocess, count: int, seed: int = 0) -> Pictures:
    """Take `count` pictures, balanced over their classes.

    Raises:
        ValueError: If none can be read.
    """
    loader = BatchLoader(choose(images, count, seed=seed), preprocess)
    pixels = np.concatenate([batch.pixels for batch in loader])
    return Pictures(pixels=pixels, kind=pictures_of(images), skipped=tuple(loader.skipped))


def drawn_pictures(preprocess: Preprocess, count: int = 16) -> Pictures:
    """Draw pictures, so that a conversion can be verified without any data: two subjects in various light."""
    from PIL import ImageEnhance

    from edge_vit.evaluation.drawing import SUBJECTS, draw

    pixels = []
    for i in range(count):
        picture = draw(SUBJECTS[i % len(SUBJECTS)])
        margin = 10 * (i // 2)
        picture = picture.crop((margin, margin // 2, picture.width - margin // 3, picture.height - margin))
        picture = ImageEnhance.Brightness(picture).enhance(0.7 + 0.05 * i)
        pixels.append(resize_and_crop(picture, preprocess))
    return Pictures(pixels=np.stack(pixels), kind="drawn pictures")


def choose_pictures(
    preprocess: Preprocess, calib: ImageSet | None, calib_images: int, data: ImageSet | None, say: Callable[[str], None]
) -> tuple[Pictures | None, Pictures]:
    """Return the pictures to calibrate on, None without `calib`, and those to verify on; each is read once.

    Verification takes those of `data`, else 32 others of `calib`, else drawn ones: never those that ranges are chosen
    from, on which a file looks better than it is.

    Raises:
        ValueError: If no picture of a set can be read.
    """
    calibration = None
    if calib is not None:
        both = load_pictures(calib, preprocess, calib_images + NUM_PICTURES)
        for line in skipped_lines(both.skipped):
            say(line)
        calibration, rest = both.split(calib_images)
        for warning in calibration_warnings(calibration):
            say(f"warning: {warning}")
    if data is not None:
        return calibration, load_pictures(data, preprocess, NUM_PICTURES)
    if calibration is not None:
        others = _without(rest, calibration)
        if len(others.pixels) >= NUM_PICTURES:
            return calibration, others
    say("verifying on drawn pictures shows that a file computes its graph, not what int8 costs; give --data for that")
    return calibration, drawn_pictures(preprocess)


def calibration_warnings(calibration: Pictures) -> tuple[str, ...]:
    """Say what is wrong with pictures to choose ranges from: too few, equal to one another, of one colour."""
    count = len(calibration.pixels)
    warnings = []
    if count < FEW_PICTURES:
        warnings.append(f"{count} calibration pictures are few: ranges may be too narrow; use {FEW_PICTURES} or more")
    if equal := count - len(set(_digests(calibration))):
        warnings.append(f"{equal} of {count} calibration pictures are equal to others; use different ones")
    spread = calibration.pixels.max((1, 2)) - calibration.pixels.min((1, 2))  # (N, 3)
    if flat := int((spread == 0).all(1).sum()):
        warnings.append(f"{flat} of {count} calibration pictures are of one colour; use real ones")
    return tuple(warnings)


def _without(pictures: Pictures, known: Pictures) -> Pictures:
    """Return those pictures that `known` does not hold too."""
    seen = set(_digests(known))
    kept = [i for i, digest in enumerate(_digests(pictures)) if digest not in seen]
    return replace(pictures, pixels=pictures.pixels[kept])


def _digests(pictures: Pictures) -> list[bytes]:
    return [hashlib.sha256(picture.tobytes()).digest() for picture in pictures.pixels]


def batches_of(
    images: ImageSet, preprocess: Preprocess, count: int, say: Callable[[str], None]
) -> Iterator[np.ndarray]:
    """Yield pixels (B, R, R, 3), uint8, of at most `count` pictures, saying now and then how far it got.

    Raises:
        ValueError: If none can be read.
    """
    chosen = choose(images, count)
    done, said = 0, time.monotonic()
    say(f"comparing on {len(chosen)} {pictures_of(images)}")
    for batch in BatchLoader(chosen, preprocess):
        yield batch.pixels
        done += len(batch.pixels)
        if time.monotonic() - said > _SAID_EVERY_S:
            said = time.monotonic()
            say(f"{done}/{len(chosen)} pictures")


def pictures_of(images: ImageSet) -> str:
    """Return what `Pictures.kind` says of a folder's pictures."""
    return f"pictures of {images.root.resolve().name}/"
