"""Pictures become the documented pixels, bit for bit, and damaged ones become one clear line."""

import math

import numpy as np
import pytest
from PIL import Image

from calibration.preprocess import Preprocess, load_pixels, normalise, resized_size, to_rgb

PRECISION_BITS = 22


def bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def bicubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0


FILTERS = {"bilinear": (bilinear, 1.0), "bicubic": (bicubic, 2.0)}


def resample_rows(pixels: np.ndarray, out: int, interpolation: str) -> np.ndarray:
    """Resample axis 0 as the module's docstring says; (H, W, 3) uint8 -> (out, W, 3) uint8."""
    size = pixels.shape[0]
    if out == size:
        return pixels
    kernel, radius = FILTERS[interpolation]
    scale = size / out
    stretch = max(scale, 1.0)
    support = radius * stretch
    rows = []
    for i in range(out):
        center = (i + 0.5) * scale
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), size)
        weights = [kernel((x - center + 0.5) * (1.0 / stretch)) for x in range(first, last)]
        total = sum(weights)
        fixed = [int(w / total * (1 << PRECISION_BITS) + math.copysign(0.5, w)) for w in weights]
        row = np.tensordot(np.asarray(fixed, np.int64), pixels[first:last].astype(np.int64), axes=1)
        rows.append(np.clip((row + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS, 0, 255))
    return np.stack(rows).astype(np.uint8)


def reference(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    height, width = pixels.shape[:2]
    new_width, new_height = resized_size(width, height, preprocess.resize)
    pixels = resample_rows(pixels.transpose(1, 0, 2), new_width, preprocess.interpolation).transpose(1, 0, 2)
    pixels = resample_rows(pixels, new_height, preprocess.interpolation)
    side = preprocess.resolution
    left, top = (new_width - side) // 2, (new_height - side) // 2
    return pixels[top : top + side, left : left + side]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "size, resolution, crop_pct",
    [
        ((97, 61), 32, 1.0), ((61, 97), 32, 0.875), ((20, 33), 48, 0.9), ((48, 48), 48, 1.0), ((500, 375), 64, 0.95),
        ((61, 297), 32, 1.0),
    ],
)  # fmt: skip
def test_pixels_equal_the_written_out_arithmetic(interpolation, size, resolution, crop_pct):
    pixels = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    preprocess = Preprocess(resolution=resolution, crop_pct=crop_pct, interpolation=interpolation)
    result = load_pixels(Image.fromarray(pixels), preprocess)
    assert result.dtype == np.uint8 and result.shape == (resolution, resolution, 3)
    np.testing.assert_array_equal(result, reference(pixels, preprocess))


@pytest.mark.parametrize(
    "size, shorter, expected",
    [((400, 300), 256, (341, 256)), ((300, 400), 256, (256, 341)), ((3, 2), 3, (5, 3)), ((10, 10), 7, (7, 7))],
)
def test_longer_side_rounds_half_up(size, shorter, expected):
    assert resized_size(*size, shorter) == expected


@pytest.mark.parametrize("resolution, crop_pct, expected", [(224, 0.875, 256), (224, 0.9, 249), (160, 1.0, 160)])
def test_resize_is_the_rounded_quotient(resolution, crop_pct, expected):
    assert Preprocess(resolution=resolution, crop_pct=crop_pct).resize == expected


def test_normalise_matches_float64_and_moves_channels():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    preprocess = Preprocess(resolution=5)
    exact = (pixels / 255.0 - np.array(preprocess.mean)) / np.array(preprocess.std)
    result = normalise(pixels, preprocess)
    assert result.dtype == np.float32 and result.shape == (2, 3, 5, 4) and result.flags.c_contiguous
    np.testing.assert_allclose(result, exact.transpose(0, 3, 1, 2), atol=1e-6)
    assert normalise(pixels[0], preprocess).shape == (1, 3, 5, 4)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (8, 4), "black")
    image.paste("red", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn clockwise to stand upright: the red left half comes out on top.
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = load_pixels(tmp_path / "turned.png", Preprocess(resolution=4, interpolation="bilinear"))
    assert pixels[0, 0].tolist() == [255, 0, 0] and pixels[3, 0].tolist() == [0, 0, 0]


def grey16(tmp_path):
    Image.fromarray(np.full((4, 4), 0x80FF, np.uint16)).save(tmp_path / "a.png")
    return tmp_path / "a.png", [128, 128, 128]


def half_transparent(tmp_path):
    Image.new("RGBA", (4, 4), (200, 0, 100, 128)).save(tmp_path / "a.png")
    return tmp_path / "a.png", [(200 * 128 + 255 * 127 + 127) // 255, 127, (100 * 128 + 255 * 127 + 127) // 255]


def palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([255, 0]))
    return tmp_path / "a.png", [255, 255, 255]


def grey(tmp_path):
    Image.new("L", (4, 4), 77).save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg", [77, 77, 77]


def cmyk(tmp_path):
    Image.new("CMYK", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.tif")
    return tmp_path / "a.tif", [0, 255, 255]


def animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    return tmp_path / "a.gif", [255, 0, 0]


@pytest.mark.parametrize("make", [grey16, half_transparent, palette_with_transparency, grey, cmyk, animation])
def test_every_mode_becomes_rgb(make, tmp_path):
    path, expected = make(tmp_path)
    assert load_pixels(path, Preprocess(resolution=4))[2, 2].tolist() == expected


def test_truncated_picture_is_named(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"cut\.jpg: not a readable picture \(.*truncated"):
        load_pixels(path, Preprocess(resolution=8))


def test_other_files_are_named(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    with pytest.raises(ValueError, match=r"notes\.png: not a readable picture \(unknown format\)"):
        load_pixels(path, Preprocess(resolution=8))
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        load_pixels(tmp_path / "gone.png", Preprocess(resolution=8))
    with pytest.raises(ValueError, match="not a readable picture"):
        load_pixels(tmp_path, Preprocess(resolution=8))


def test_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 10_000)).save(path)
    with pytest.raises(ValueError, match=r"bomb\.png: not a readable picture \(.*exceeds limit"):
        load_pixels(path, Preprocess(resolution=8))


def test_long_and_narrow_picture_is_refused():
    with pytest.raises(ValueError, match="60000 x 1 pixels are too long and narrow; crop the picture first"):
        load_pixels(Image.new("RGB", (60_000, 1)), Preprocess(resolution=224))


def test_float_samples_are_refused():
    with pytest.raises(ValueError, match="floating point samples have no defined range"):
        to_rgb(Image.new("F", (4, 4)))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"resolution": 0}, "resolution 0 is not allowed"),
        ({"resolution": 8, "crop_pct": 1.5}, "crop_pct 1.5 is not allowed"),
        ({"resolution": 8, "interpolation": "nearest"}, "choose from bilinear, bicubic"),
        ({"resolution": 8, "mean": (0.5, 0.5)}, "mean .* is not allowed; give three finite numbers"),
        ({"resolution": 8, "std": (0.5, 0.5, 0.0)}, "std .* every value must be above 0"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**fields)


def test_normalise_refuses_other_arrays():
    with pytest.raises(ValueError, match=r"pixels are float32 \(4, 4, 3\); give uint8"):
        normalise(np.zeros((4, 4, 3), np.float32), Preprocess(resolution=4))
