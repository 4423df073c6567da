"""Turn a picture into the pixels a model was trained on, by arithmetic that another language can repeat bit for bit.

From decoded pixels to the result, in this order and in integers wherever it can be:

1. EXIF orientation is applied; the first frame of an animation is taken.
2. To 8-bit RGB. 16-bit samples keep their high byte (`v >> 8`). Alpha is laid over white, for each sample
   `(c * a + 255 * (255 - a) + 127) // 255`. Other modes are Pillow's `convert`.
3. The shorter side becomes `S = floor(resolution / crop_pct + 0.5)`,
   the longer one `(2 * long * S + short) // (2 * short)`.
4. Pillow's antialiased resampling: horizontal pass, then vertical, each skipped where the size does not change and each
   rounding to 8 bits. For output pixel `i`, in float64: `scale = in / out`, `stretch = max(scale, 1)`,
   `center = (i + 0.5) * scale`, `support = radius * stretch` (radius 1 bilinear, 2 bicubic with a = -0.5), taps from
   `max(int(center - support + 0.5), 0)` up to `min(int(center + support + 0.5), in)`, weight of tap `x` =
   `filter((x - center + 0.5) / stretch)`, divided by their sum, then `int(w * 2**22 +- 0.5)` (half away from zero).
   Sum of `pixel * weight` starting at `2**21`, arithmetic shift right by 22, clamped to 0..255.
5. Centre crop: `left = (width - resolution) // 2`, `top = (height - resolution) // 2`.

For a rectangle, height and width, step 3 is another one: the picture is scaled until it covers a box of
`floor(side / crop_pct + 0.5)` each; the side that decides has that length, the other is rounded half up.

`tests/calibration/test_preprocess.py` holds step 4 written out in numpy and requires equal bits.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What decoders are known to raise on damaged files; anything else is a bug and should surface.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip

# Pillow refuses to open pictures above twice its limit; the same bound holds for a picture that resizing would blow up.
MAX_PIXELS = 2 * 89_478_485

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """How pictures become model input; the manifest of an artefact carries the same fields.

    `resolution` is the side of a square, or height and width.
    """

    resolution: int | tuple[int, int]
    crop_pct: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not all(1 <= side <= 4096 for side in self.size):
            raise ValueError(f"resolution {self.resolution} is not allowed; use 1 to 4096 pixels")
        if not 0.1 <= self.crop_pct <= 1.0:
            raise ValueError(f"crop_pct {self.crop_pct} is not allowed; use 0.1 to 1.0 (1.0 keeps the whole picture)")
        if self.interpolation not in _RESAMPLING:
            allowed = ", ".join(_RESAMPLING)
            raise ValueError(f"interpolation '{self.interpolation}' is not allowed; choose from {allowed}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} {values} is not allowed; give three finite numbers, for R, G and B")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} is not allowed; every value must be above 0")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return (self.resolution, self.resolution) if isinstance(self.resolution, int) else self.resolution

    @property
    def box(self) -> tuple[int, int]:
        """Height and width from which the result is cropped, in pixels; the resized picture covers them."""
        height, width = (math.floor(side / self.crop_pct + 0.5) for side in self.size)
        return height, width

    @property
    def resize(self) -> int:
        """Length of the box's shorter side; a picture's shorter side, where the result is a square."""
        return min(self.box)


def load_pixels(source: str | Path | Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Read one picture and bring it to the model's size.

    Args:
        source: Path of a picture, or an opened Pillow image.
        preprocess: Size, crop and filter; mean and std are not used here.

    Returns:
        RGB pixels, (H, W, 3), uint8.

    Raises:
        ValueError: If the picture is missing, damaged, truncated or too large; the message names the file.
    """
    if isinstance(source, Image.Image):
        return resize_and_crop(to_rgb(source), preprocess)
    return resize_and_crop(load_rgb(source, preprocess.resize), preprocess)


def load_rgb(path: str | Path, resize: int) -> Image.Image:
    """Read one picture at its own size, upright and in 8-bit RGB: what every command resizes or crops from.

    Args:
        resize: Length in pixels that the shorter side is to have; a picture that would be too large then is refused.

    Raises:
        ValueError: If the picture is missing, damaged, truncated or too large; the message names the file.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            _check_size(image, resized_size(image.width, image.height, resize))
            return to_rgb(image)
    except FileNotFoundError as e:
        raise ValueError(f"{path}: no such file") from e
    except DECODE_ERRORS as e:
        raise ValueError(f"{path}: not a readable picture ({_reason(e)})") from e


def to_rgb(image: Image.Image) -> Image.Image:
    """Return `image` upright and in 8-bit RGB (steps 1 and 2)."""
    image.load()
    image = _upright(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        samples = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating point samples have no defined range; save the picture with 8 or 16 bits a sample")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def resize_and_crop(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize an RGB image and crop its centre (steps 3 to 5); uint8 (H, W, 3)."""
    covering = covering_size(image.width, image.height, preprocess.box)
    _check_size(image, covering)
    image = _resize(image, covering, preprocess.interpolation)
    height, width = preprocess.size
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image)[top : top + height, left : left + width].copy()


def resize_shorter(image: Image.Image, shorter: int, interpolation: Literal["bilinear", "bicubic"]) -> Image.Image:
    """Resize an RGB image until its shorter side has that length (steps 3 and 4)."""
    return _resize(image, resized_size(image.width, image.height, shorter), interpolation)


def _resize(image: Image.Image, size: tuple[int, int], interpolation: Literal["bilinear", "bicubic"]) -> Image.Image:
    width, height = size
    # One pass a call, across before down: Pillow 13 swaps the two for tall pictures, and each pass rounds.
    if width != image.width:
        image = image.resize((width, image.height), _RESAMPLING[interpolation])
    if height != image.height:
        image = image.resize((width, height), _RESAMPLING[interpolation])
    return image


def resized_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Return width and height once the shorter side has length `shorter`, rounding half up."""
    short, long = min(width, height), max(width, height)
    other = (2 * long * shorter + short) // (2 * short)
    return (shorter, other) if width <= height else (other, shorter)


def covering_size(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a picture scaled until it covers a box of (height, width), rounding half up."""
    tall, wide = box
    if tall * width >= wide * height:
        return (2 * width * tall + height) // (2 * height), tall
    return wide, (2 * height * wide + width) // (2 * width)


def normalise(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Scale pixels to what the network saw in training.

    `float32(pixel) * factor + shift`, each operation rounded to float32, with `factor = float32(1 / (255 * std))` and
    `shift = float32(-mean / std)` computed in float64.

    Args:
        pixels: RGB, (H, W, 3) or (B, H, W, 3), uint8.
        preprocess: Mean and standard deviation are taken from it.

    Returns:
        (B, 3, H, W), float32, contiguous; B is 1 for a single picture.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; give uint8 (H, W, 3) or (B, H, W, 3)")
    batch = pixels if pixels.ndim == 4 else pixels[None]
    std, mean = np.asarray(preprocess.std, np.float64), np.asarray(preprocess.mean, np.float64)
    factor, shift = (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    return np.ascontiguousarray((batch.astype(np.float32) * factor + shift).transpose(0, 3, 1, 2))


def _check_size(image: Image.Image, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are too long and narrow; crop the picture first")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except DECODE_ERRORS:  # Damaged EXIF beside good pixels: the picture is taken as it lies.
        return image


def _over_white(image: Image.Image) -> Image.Image:
    samples = np.asarray(image.convert("RGBA")).astype(np.int32)
    color, alpha = samples[..., :3], samples[..., 3:]
    return Image.fromarray(((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))


def _reason(error: BaseException) -> str:
    """First line of an error, without the path that Pillow puts into some."""
    text = (str(error).splitlines() or [""])[0]
    return "unknown format" if isinstance(error, UnidentifiedImageError) else text or type(error).__name__
