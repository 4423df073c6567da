"""Measure the contrast of texts on a drawn screen, from its pixels, by WCAG 2.2's formula."""

from collections import Counter
from collections.abc import Sequence

from PIL import Image

from android_demo.apk.layout import Written

# Success criterion 1.4.3, for texts of every size.
LEAST = 4.5


def luminance(color: tuple[int, ...]) -> float:
    """Return the relative luminance of an sRGB colour, 0 to 1."""
    linear = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ratio(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def measure(image: Image.Image, written: Sequence[Written]) -> dict[str, float]:
    """Return each text's contrast: its box's most frequent colour against the one that stands out most from it.

    A line that the screen's edge cuts is left out: where only tips of letters show, their soft edges would be taken.
    """
    found: dict[str, float] = {}
    for one in written:
        left, top, right, bottom = one.box
        if left < 0 or top < 0 or right > image.width or bottom > image.height or right <= left or bottom <= top:
            continue
        part = image.crop(one.box)
        colours: Counter = Counter({color: count for count, color in part.getcolors(1 << 20)})
        ground = colours.most_common(1)[0][0]
        found[one.text] = min(found.get(one.text, 21.0), max(ratio(ground, color) for color in colours))
    return found
