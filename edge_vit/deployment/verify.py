"""Compare a written artefact with the torch model it came from, on pictures."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibration.dataset import BatchLoader, SkippedImage, choose, list_images
from calibration.preprocess import Preprocess, resize_and_crop
from converters.manifest import MAX_SQNR_DB, Verification

# An artefact computes what its graph says up to the rounding of its kernels. Below these the two are not the same
# function: a fault of the conversion, not of the quantization.
MIN_SQNR_TO_GRAPH_DB = {"fp32": 60.0, "fp16": 35.0, "int8": 20.0}
# Where noise of that size is the graph's own: how much more the file may have, and when there is too much to judge by.
MAX_EXTRA_NOISE_DB, MIN_JUDGEABLE_DB = 1.5, 8.0
NUM_PICTURES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pixels (N, R, R, 3), uint8, and what they are."""

    pixels: np.ndarray
    description: str
    skipped: tuple[SkippedImage, ...] = ()
    folder: str = ""

    def split(self, at: int) -> "tuple[Pictures, Pictures]":
        """Return the first `at` pictures of a folder and the rest; from the end where `at` is negative."""
        return self._part(self.pixels[:at]), self._part(self.pixels[at:])

    def _part(self, pixels: np.ndarray) -> "Pictures":
        return replace(self, pixels=pixels, description=f"{len(pixels)} pictures of {self.folder}/")


def load_pictures(folder: Path, preprocess: Preprocess, count: int, seed: int = 0) -> Pictures:
    """Take `count` pictures of a folder, balanced over its class folders.

    Raises:
        ValueError: If the folder holds none that can be read.
    """
    loader = BatchLoader(choose(list_images(folder), count, seed=seed), preprocess)
    pixels = np.concatenate([batch.pixels for batch in loader])
    name = folder.resolve().name
    return Pictures(
        pixels=pixels,
        description=f"{len(pixels)} pictures of {name}/",
        skipped=tuple(loader.skipped),
        folder=name,
    )


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
    return Pictures(pixels=np.stack(pixels), description=f"{count} drawn pictures")


def check_logits(
    outputs: np.ndarray, expected: np.ndarray, floats: np.ndarray, data: str, precision: str
) -> tuple[Verification, float]:
    """Compare what a file, the graph it was lowered from and the float model say to the same pictures.

    Args:
        outputs: The file's logits, (N, classes); `expected` are its graph's, `floats` the float model's.
        data: What the pictures are.
        precision: "fp32", "fp16" or "int8".

    Returns:
        The file against the float model, and its signal-to-noise ratio against its own graph in dB.

    Raises:
        RuntimeError: If the file does not compute its graph.
    """
    from converters.sqnr import sqnr_db

    to_graph = sqnr_db(expected, outputs)
    if not (to_graph >= MIN_SQNR_TO_GRAPH_DB[precision] or _is_as_good(outputs, expected, floats, precision)):
        raise RuntimeError(
            f"the written file does not compute its graph: {to_graph:.1f} dB on {data}, at least "
            f"{MIN_SQNR_TO_GRAPH_DB[precision]:.0f} dB expected; nothing was kept, please report the model and versions"
        )
    agreement = float((outputs.argmax(1) == floats.argmax(1)).mean())
    verification = Verification(
        sqnr_db=round(float(np.clip(sqnr_db(floats, outputs), -MAX_SQNR_DB, MAX_SQNR_DB)), 2),
        top1_agreement=round(agreement, 4),
        num_images=len(outputs),
        data=data,
    )
    return verification, to_graph


def _is_as_good(outputs: np.ndarray, expected: np.ndarray, floats: np.ndarray, precision: str) -> bool:
    """Tell whether an int8 file is as close to the float model as its graph is.

    Where a network amplifies noise, as deep ones with random weights do, file and graph part after a few rounding
    differences: each then carries noise of its own, but as much of it as the other.
    """
    from converters.sqnr import sqnr_db

    graph_db = sqnr_db(floats, expected)
    is_judgeable = precision == "int8" and graph_db >= MIN_JUDGEABLE_DB
    return is_judgeable and sqnr_db(floats, outputs) >= graph_db - MAX_EXTRA_NOISE_DB
