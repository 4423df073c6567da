"""Pictures of a conversion: poor calibration is said, and verification never sees what ranges were chosen from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.dataset import ImageSet, list_images
from calibration.preprocess import Preprocess
from edge_vit.deployment.pictures import NUM_PICTURES, Pictures, calibration_warnings, choose_pictures

PREPROCESS = Preprocess(resolution=32)


def write(folder: Path, pictures: np.ndarray) -> ImageSet:
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i:03}.png")
    return list_images(folder)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 40, 40, 3), np.uint8)


def rows(pictures: Pictures) -> set[bytes]:
    return {picture.tobytes() for picture in pictures.pixels}


def test_good_pictures_give_no_warning() -> None:
    assert calibration_warnings(Pictures(pixels=noise(32), kind="pictures")) == ()


@pytest.mark.parametrize(
    ("pixels", "warnings"),
    [
        (noise(31), ["31 calibration pictures are few: ranges may be too narrow; use 32 or more"]),
        (noise(40)[[*range(40), 0, 1, 2]], ["3 of 43 calibration pictures are equal to others; use different ones"]),
        (
            np.concatenate([noise(40), np.full((1, 40, 40, 3), 7, np.uint8)]),
            ["1 of 41 calibration pictures are of one colour; use real ones"],
        ),
        (
            np.zeros((3, 40, 40, 3), np.uint8),
            [
                "3 calibration pictures are few: ranges may be too narrow; use 32 or more",
                "2 of 3 calibration pictures are equal to others; use different ones",
                "3 of 3 calibration pictures are of one colour; use real ones",
            ],
        ),
    ],
)  # fmt: skip
def test_poor_pictures_are_named(pixels: np.ndarray, warnings: list[str]) -> None:
    assert list(calibration_warnings(Pictures(pixels=pixels, kind="pictures"))) == warnings


def test_warnings_are_said_and_others_of_the_folder_verify(tmp_path: Path) -> None:
    said: list[str] = []
    folder = write(tmp_path / "many", noise(10 + NUM_PICTURES))
    calibration, verification = choose_pictures(PREPROCESS, folder, 10, None, said.append)
    assert calibration is not None and len(calibration.pixels) == 10 and len(verification.pixels) == NUM_PICTURES
    assert not rows(calibration) & rows(verification) and verification.kind == "pictures of many/"
    assert said == ["warning: 10 calibration pictures are few: ranges may be too narrow; use 32 or more"]


@pytest.mark.parametrize("pixels", [noise(40), np.repeat(noise(40), 2, 0)], ids=["too few", "copies"])
def test_calibration_pictures_never_verify(pixels: np.ndarray, tmp_path: Path) -> None:
    said: list[str] = []
    folder = write(tmp_path / "few", pixels)
    calibration, verification = choose_pictures(PREPROCESS, folder, 40, None, said.append)
    assert calibration is not None and not rows(calibration) & rows(verification)
    assert verification.kind == "drawn pictures" and len(verification.pixels) == 16
    assert said[-1].startswith("verifying on drawn pictures shows that a file computes its graph")


def test_pictures_of_data_come_first(tmp_path: Path) -> None:
    calib, data = write(tmp_path / "calib", noise(80)), write(tmp_path / "data", noise(33, seed=1))
    _, verification = choose_pictures(PREPROCESS, calib, 32, data, lambda line: None)
    assert verification.kind == "pictures of data/" and len(verification.pixels) == NUM_PICTURES
