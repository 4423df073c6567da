"""Pictures as people have them: in every mode, turned, transparent, damaged. A function of a path writes each."""

import io
import os

import numpy as np
from PIL import Image, features

WIDTH, HEIGHT = 50, 40


def pixels(channels=3, width=WIDTH, height=HEIGHT, high=256, dtype=np.uint8):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(channels * width).integers(0, high, shape).astype(dtype)


def smooth():
    """Something that survives lossy coding: a slope in each direction."""
    x, y = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], -1).astype(np.uint8))


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def palette(path, **options):
    image = Image.fromarray(pixels(1, high=4), "P")
    image.putpalette([9, 9, 9, 250, 20, 30, 0, 200, 0, 0, 0, 255])
    image.save(path, **options)


def animation(path):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def grey16(path):
    Image.fromarray(pixels(1, high=65536, dtype=np.uint16)).save(path)


def damaged_exif(path):
    smooth().save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f garbage")


# Name -> what writes it. All of them can be read.
GOOD = {
    "plain.jpg": lambda path: smooth().save(path),
    "progressive.jpg": lambda path: smooth().save(path, progressive=True),
    "large.jpg": lambda path: smooth().resize((640, 480)).save(path),
    "grey.jpg": lambda path: smooth().convert("L").save(path),
    "cmyk.jpg": lambda path: smooth().convert("CMYK").save(path),
    "turned.jpg": lambda path: smooth().save(path, exif=exif(6)),
    "mirrored.webp": lambda path: Image.fromarray(pixels()).save(path, lossless=True, exif=exif(5)),
    "turned.png": lambda path: Image.fromarray(pixels()).save(path, exif=exif(3)),
    "damaged_exif.jpg": damaged_exif,
    "transparent.png": lambda path: Image.fromarray(pixels(4)).save(path),
    "grey_transparent.png": lambda path: Image.fromarray(pixels(2), "LA").save(path),
    "one_colour_transparent.png": lambda path: Image.fromarray(pixels(3, high=2)).save(path, transparency=(1, 1, 1)),
    "palette.png": palette,
    "palette_transparent.png": lambda path: palette(path, transparency=bytes([0, 255, 128, 255])),
    "palette.gif": lambda path: palette(path, transparency=2),
    "animation.gif": animation,
    "grey16.png": grey16,
    "grey16.tif": grey16,
    "grey16.pgm": grey16,
    "one_bit.png": lambda path: Image.fromarray(pixels(1)).convert("1").save(path),
    "cmyk.tif": lambda path: Image.fromarray(pixels(4), "CMYK").save(path),
    "compressed.tif": lambda path: Image.fromarray(pixels()).save(path, compression="tiff_lzw"),
    "lab.tif": lambda path: Image.fromarray(pixels(), "LAB").save(path),
    "transparent.webp": lambda path: Image.fromarray(pixels(4)).save(path, lossless=True),
    "plain.bmp": lambda path: Image.fromarray(pixels()).save(path),
    "plain.ppm": lambda path: Image.fromarray(pixels()).save(path),
    "plain.jfif": lambda path: smooth().save(path, format="JPEG"),
    **({"plain.avif": lambda path: smooth().save(path)} if features.check("avif") else {}),
}


def truncated(path, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels(width=200, height=200)).save(buffer, kind)
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


# Name -> what writes it, and what the message says. None of them can be read at a resolution of 224.
BAD = {
    "half.jpg": (lambda path: truncated(path, "JPEG"), "truncated"),
    "half.tif": (lambda path: truncated(path, "TIFF"), "truncated"),
    "half.png": (lambda path: truncated(path, "PNG"), "truncated"),
    "float.tif": (lambda path: Image.new("F", (8, 8)).save(path), "floating point samples have no defined range"),
    "long.png": (lambda path: Image.new("RGB", (20_000, 2)).save(path), "20000 x 2 pixels are too long and narrow"),
    "text.png": (lambda path: path.write_text("no picture"), "unknown format"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "unknown format"),
    "bomb.png": (lambda path: Image.new("1", (20_000, 10_000)).save(path), "exceeds limit"),
    "lost.png": (lambda path: os.symlink("nowhere", path), "no such file"),
}
