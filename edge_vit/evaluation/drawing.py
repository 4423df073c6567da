"""Pictures that the repository draws itself, so that a demonstration needs no photograph of anyone else's."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SUBJECTS = ("golf ball", "parachute")


def draw(subject: str = SUBJECTS[0], size: int = 320) -> Image.Image:
    """Draw a subject, the same pixels every time.

    Args:
        subject: One of `SUBJECTS`.
        size: Side in pixels, at least 64.

    Returns:
        An RGB picture, size x size.
    """
    check_subject(subject)
    if not 64 <= size <= 2048:
        raise ValueError(f"size {size} is not allowed; use 64 to 2048 pixels")
    return _golf_ball(size) if subject == "golf ball" else _parachute(size)


def check_subject(subject: str) -> None:
    """Raise ValueError if there is no such subject."""
    if subject not in SUBJECTS:
        raise ValueError(f"cannot draw '{subject}'; choose from {', '.join(SUBJECTS)}")


def _golf_ball(size: int) -> Image.Image:
    """A dimpled white ball on grass, lit from the upper left."""
    image = _grass(size)
    center, radius = np.array([0.5, 0.52]) * size, 0.3 * size
    shadow = Image.new("L", (size, size))
    left, top = center + radius * np.array([-0.75, 0.65])
    ImageDraw.Draw(shadow).ellipse((left, top, left + 2.2 * radius, top + 0.65 * radius), fill=170)
    image.paste((12, 32, 8), mask=shadow.filter(ImageFilter.GaussianBlur(0.05 * size)))
    y, x = np.mgrid[0:size, 0:size]
    x, y = (x + 0.5 - center[0]) / radius, (y + 0.5 - center[1]) / radius
    z = np.sqrt(np.clip(1.0 - x * x - y * y, 0.0, 1.0))
    normal = _dimpled(np.stack([x, y, z], -1))
    light = np.array([-0.45, -0.65, 0.62])
    lit = np.clip(normal @ light, 0.0, 1.0)
    shade = np.clip(0.36 + 0.64 * lit + 0.25 * lit**24, 0.0, 1.0)[..., None]
    ball = Image.fromarray((shade * np.array([250, 250, 246])).clip(0, 255).astype(np.uint8))
    edge = np.clip((1.0 - np.sqrt(x * x + y * y)) * radius, 0.0, 1.0)
    image.paste(ball, mask=Image.fromarray((255 * edge).astype(np.uint8)))
    return image.filter(ImageFilter.GaussianBlur(size / 640))


def _dimpled(normal: np.ndarray) -> np.ndarray:
    """Bend a sphere's normals towards the nearest of evenly spread dimples."""
    num, angle = 330, math.pi * (3.0 - math.sqrt(5.0))
    k = np.arange(num)
    height = 1.0 - 2.0 * (k + 0.5) / num
    ring = np.sqrt(1.0 - height**2)
    # The spiral's axis lies in the picture, so that no pole faces the viewer.
    centers = np.stack([ring * np.cos(k * angle), height, ring * np.sin(k * angle)], -1).astype(np.float32)
    near = centers[np.argmax(normal.astype(np.float32) @ centers.T, -1)]
    away = normal - near
    distance = np.linalg.norm(away, axis=-1, keepdims=True) / 0.085
    bent = normal - 4.0 * away * np.clip(1.0 - distance, 0.0, 1.0) ** 0.5 * (distance < 1.0)
    return bent / np.linalg.norm(bent, axis=-1, keepdims=True)


def _grass(size: int) -> Image.Image:
    rng = np.random.default_rng(18)
    image = Image.new("RGB", (size, size), (52, 100, 34))
    pen = ImageDraw.Draw(image)
    for y in sorted(rng.uniform(0, 1.1, 6000)):
        x, lean, tall = rng.uniform(0, size), rng.normal(0, 0.012), rng.uniform(0.02, 0.07) * (0.4 + y)
        green = rng.integers(80, 175)
        color = (int(green * rng.uniform(0.35, 0.7)), int(green), int(green * 0.3))
        pen.line((x, y * size, x + lean * size, (y - tall) * size), fill=color, width=max(1, round(size / 220)))
    return image.filter(ImageFilter.GaussianBlur(size / 400))


def _parachute(size: int) -> Image.Image:
    """A striped round canopy over a small figure, against a sky with clouds."""
    image = _sky(size)
    scale = 3  # Drawn larger and reduced: smooth edges.
    layer = Image.new("RGBA", (scale * size, scale * size))
    pen = ImageDraw.Draw(layer)
    s = scale * size
    middle, crown, brim, half = 0.5 * s, 0.14 * s, 0.42 * s, 0.34 * s
    hands = (middle, 0.78 * s)
    colors = [(206, 32, 38), (245, 245, 240), (28, 70, 160), (245, 200, 40)]
    gores = 12
    rim = [middle + half * math.sin((i / gores - 0.5) * math.pi) for i in range(gores + 1)]
    for x in rim:
        pen.line((x, brim, *hands), fill=(60, 60, 66, 255), width=max(1, s // 420))
    for i in range(gores):
        edge = [_meridian(x, middle, crown, brim, half) for x in (rim[i], rim[i + 1])]
        sag = ((rim[i] + rim[i + 1]) / 2, brim - 0.025 * s)
        shade = 1.0 - 0.35 * abs(i + 0.5 - 0.35 * gores) / gores * 2
        color = tuple(int(max(0.45, shade) * c) for c in colors[i % len(colors)])
        pen.polygon([*edge[0], sag, *reversed(edge[1])], fill=(*color, 255))
    _figure(pen, *hands, 0.012 * s)
    layer = layer.resize((size, size), Image.Resampling.LANCZOS)
    image.paste(layer, mask=layer.getchannel("A"))
    return image.filter(ImageFilter.GaussianBlur(size / 640))


def _figure(pen: ImageDraw.ImageDraw, x: float, y: float, unit: float) -> None:
    """A jumper whose hands hold the lines; the head's middle lies at (x, y)."""
    dark, thick = (36, 40, 52, 255), int(unit)
    for side in (-1, 1):
        pen.line((x + side * unit, y + 5 * unit, x + 1.5 * side * unit, y + 9 * unit), fill=dark, width=thick)
        pen.line((x + side * unit, y + 2 * unit, x + 2.5 * side * unit, y - 3 * unit), fill=dark, width=thick)
    pen.rounded_rectangle((x - 1.3 * unit, y + unit, x + 1.3 * unit, y + 5 * unit), unit, fill=dark)
    pen.ellipse((x - unit, y - unit, x + unit, y + unit), fill=(70, 48, 38, 255))


def _meridian(x: float, middle: float, crown: float, brim: float, half: float) -> list[tuple[float, float]]:
    """The seam of a canopy from its crown to the brim at `x`."""
    turns = np.linspace(0.0, math.pi / 2, 24)
    return [(middle + (x - middle) * math.sin(t), brim - (brim - crown) * math.cos(t)) for t in turns]


def _sky(size: int) -> Image.Image:
    rng = np.random.default_rng(7)
    depth = np.linspace(0.0, 1.0, size)[:, None, None]
    blue = np.array([58, 120, 200]) * (1 - depth) + np.array([172, 206, 236]) * depth
    clouds = np.zeros((size, size))
    for cells, weight in ((4, 0.5), (8, 0.3), (16, 0.2)):
        coarse = Image.fromarray((255 * rng.random((cells, cells))).astype(np.uint8))
        clouds += weight * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255.0
    cover = np.clip((clouds - 0.52) * 3.0, 0.0, 0.8)[..., None]
    return Image.fromarray((blue * (1 - cover) + 248 * cover).clip(0, 255).astype(np.uint8))
