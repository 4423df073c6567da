"""Draw the app's own layout files, well enough to look at them: a small part of Android's layout rules.

Known are LinearLayout with weights, FrameLayout, ScrollView, include and merge, text, buttons, spinners, bars and
pictures, with styles, colours, lengths and languages from the resources, and a font size of the reader's own. Fonts
and widgets are not Android's, so texts are not quite as long as on a phone.
"""

import contextlib
import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ANDROID = "{http://schemas.android.com/apk/res/android}"
SCALE = 2  # pixels of a dp
CHART = "edgevit.demo.ChartView"
CHART_LETTER = "12sp"
INKS = {
    "text": "text", "quiet": "text_quiet", "track": "track", "first": "accent", "second": "second", "heat": "heat",
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class View:
    """One view, its attributes resolved as far as needed; `state` overrides what the layout says."""

    kind: str
    attributes: dict[str, str]
    children: list["View"] = field(default_factory=list)
    state: dict = field(default_factory=dict)

    def get(self, name: str, default: str = "") -> str:
        return self.state.get(name, self.attributes.get(name, default))

    def find(self, name: str) -> "View":
        """Return the view with this id."""
        found = [view for view in self.walk() if view.get("id").endswith("/" + name)]
        if not found:
            raise ValueError(f"the layout has no view {name}")
        return found[0]

    def walk(self) -> Iterator["View"]:
        """Yield this view and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a screen is drawn for. `width` and `height` are in dp as the device is held; `language` as in values-de."""

    width: int = 360
    height: int = 740
    is_night: bool = False
    language: str = ""
    font_scale: float = 1.0

    @property
    def is_wide(self) -> bool:
        return self.width > self.height


class Resources:
    """Strings, colours, lengths, styles and layouts of the app for one device."""

    def __init__(self, folder: Path, device: Device) -> None:
        self.folder, self.device = folder, device
        self.strings = self._values("values/strings.xml", "string")
        if device.language:
            self.strings |= self._values(f"values-{device.language}/strings.xml", "string")
        self.colors = self._values("values/colors.xml", "color")
        if device.is_night:
            self.colors |= self._values("values-night/colors.xml", "color")
        self.dimens = self._values("values/dimens.xml", "dimen")
        if min(device.width, device.height) >= 600:
            self.dimens |= self._values("values-sw600dp/dimens.xml", "dimen")
        styles = ET.parse(folder / "values/styles.xml").getroot()
        self.styles: dict[str, dict[str, str]] = {}
        for style in styles:  # One named A.B is an A, with what it says itself; A stands before it.
            name = style.get("name", "")
            own = {item.get("name", "")[8:]: item.text or "" for item in style}
            self.styles[name] = self.styles.get(name.rpartition(".")[0], {}) | own

    def _values(self, name: str, tag: str) -> dict[str, str]:
        return {item.get("name", ""): item.text or "" for item in ET.parse(self.folder / name).getroot().iter(tag)}

    def color(self, name: str, *, is_enabled: bool = True) -> str:
        """Return a colour, of a list of colours the one for that state."""
        name = name.removeprefix("@color/")
        listed = self.folder / "color" / f"{name}.xml"
        if not listed.exists():
            return self.colors[name]
        items = [
            (one.get(f"{ANDROID}color", ""), one.get(f"{ANDROID}state_enabled")) for one in ET.parse(listed).getroot()
        ]
        chosen = next(color for color, state in items if state is None or (state == "true") == is_enabled)
        return self.color(chosen)

    def shape(self, name: str, *, is_enabled: bool) -> tuple[str, str]:
        """Return colour and corner radius of a drawable that is a rectangle, or a list of such for states."""
        root = ET.parse(self.folder / "drawable" / f"{name.removeprefix('@drawable/')}.xml").getroot()
        shapes = [
            (item.get(f"{ANDROID}state_enabled"), item) for item in root.iter("item") if item.find("shape") is not None
        ]
        found = next(item for state, item in shapes if state is None or (state == "true") == is_enabled)
        (solid,), (corners,) = found.iter("solid"), found.iter("corners")
        return self.color(solid.get(f"{ANDROID}color", "")), corners.get(f"{ANDROID}radius", "0dp")

    def length(self, value: str) -> int:
        """Return a length such as 16dp, 13sp or @dimen/page_padding in pixels; sp grow with the reader's font size."""
        value = self.dimens.get(value.removeprefix("@dimen/"), value)
        scale = SCALE * (self.device.font_scale if value.endswith("sp") else 1)
        return round(float(value.removesuffix("dp").removesuffix("sp") or 0) * scale)

    def text(self, value: str) -> str:
        found = self.strings[value.removeprefix("@string/")] if value.startswith("@string/") else value
        return found.replace("\\'", "'")

    def say(self, text: dict | None) -> str:
        """Put what edgevit.core.Text.toMap made into the device's language, as Texts.java does."""
        if text is None:
            return ""
        values = [self._value(one) for one in text["values"]]

        def place(found: re.Match) -> str:
            value, form = values[int(found[1]) - 1], found[2]
            said = f"{value:{form}}" if form.endswith("f") else str(value)
            return said.replace(".", ",") if self.device.language == "de" and form.endswith("f") else said

        return re.sub(r"%(\d)\$([.\d]*[a-z])", place, self.text(f"@string/{text['say']}")).replace("%%", "%")

    def _value(self, value: object) -> object:
        if isinstance(value, list):
            return ", ".join(self.say(one) for one in value)
        return self.say(value) if isinstance(value, dict) else value

    def inflate(self, name: str) -> View:
        """Return the views of a layout."""
        wide = self.folder / "layout-land" / f"{name}.xml"
        path = wide if self.device.is_wide and wide.exists() else self.folder / "layout" / f"{name}.xml"
        (view,) = self._views(ET.parse(path).getroot())
        return view

    def _views(self, element: ET.Element) -> list[View]:
        if element.tag == "include":
            name = element.get("layout", "").removeprefix("@layout/")
            return self._views(ET.parse(self.folder / "layout" / f"{name}.xml").getroot())
        children = [view for child in element for view in self._views(child)]
        if element.tag == "merge":
            return children
        own = {key.removeprefix(ANDROID): value for key, value in element.attrib.items()}
        style = self.styles.get(own.get("style", "").removeprefix("@style/"), {})
        return [View(kind=element.tag, attributes=style | own, children=children)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A line of text that was drawn: where, as left, top, right, bottom in pixels."""

    text: str
    box: tuple[int, int, int, int]


class Painter:
    """Measures and draws views."""

    def __init__(self, resources: Resources) -> None:
        self.resources, self.dp = resources, resources.length
        self.written: list[Written] = []
        size = (resources.device.width * SCALE, resources.device.height * SCALE)
        self.image = Image.new("RGB", size, resources.color("background"))
        self.pen = ImageDraw.Draw(self.image)

    def paint(self, view: View) -> Image.Image:
        """Draw a whole screen."""
        self._draw(view, 0, 0, *self.image.size)
        return self.image

    def _draw(self, view: View, x: int, y: int, width: int, height: int) -> None:
        if view.get("background").startswith("@color/"):
            self.pen.rectangle((x, y, x + width, y + height), fill=self.resources.color(view.get("background")))
        if view.kind in ("LinearLayout", "FrameLayout", "ScrollView"):
            left, top, right, bottom = self._pads(view)
            for child, box in self._place(view, width - left - right, height - top - bottom):
                self._draw(child, x + left + box[0], y + top + box[1], box[2], box[3])
            return
        known = {
            "TextView": self._text, "Button": self._button, "Spinner": self._spinner, "ProgressBar": self._bar,
            CHART: self._chart,
        }  # fmt: skip
        known.get(view.kind, self._picture)(view, x, y, width, height)

    def _pads(self, view: View) -> tuple[int, int, int, int]:
        every = view.get("padding", "0dp")
        left, top, right, bottom = (
            self.dp(view.get(f"padding{side}", every)) for side in ("Start", "Top", "End", "Bottom")
        )
        return left, top, right, bottom

    def _place(self, view: View, width: int, height: int) -> list[tuple[View, tuple[int, int, int, int]]]:
        """Return the visible children with their boxes inside the padding."""
        shown = [child for child in view.children if child.get("visibility") != "gone"]
        if view.kind == "FrameLayout":
            return [(child, self._framed(child, width, height)) for child in shown]
        if view.kind != "LinearLayout":
            return [(child, (0, 0, width, 10**5)) for child in shown]
        is_row = view.get("orientation", "horizontal") == "horizontal"
        margins = [self.dp(child.get("layout_marginStart" if is_row else "layout_marginTop", "0dp")) for child in shown]
        weights = [float(child.get("layout_weight", "0")) for child in shown]
        wanted = [self._size(child, width, height)[0 if is_row else 1] for child in shown]
        sizes = [0 if weight else size for weight, size in zip(weights, wanted, strict=True)]
        left = (width if is_row else height) - sum(sizes) - sum(margins)
        at, placed = 0, []
        for child, margin, weight, size in zip(shown, margins, weights, sizes, strict=True):
            extent = round(left * weight / sum(weights)) if weight else size
            at += margin
            across = self._size(child, extent if is_row else width, height)[1] if is_row else width
            if is_row and child.get("layout_height") == "match_parent":
                across = height
            placed.append((child, (at, 0, extent, across) if is_row else (0, at, width, extent)))
            at += extent
        return placed

    def _framed(self, child: View, width: int, height: int) -> tuple[int, int, int, int]:
        own = self._size(child, width, height)
        if child.get("layout_gravity") == "center":
            return (width - own[0]) // 2, (height - own[1]) // 2, *own
        return 0, 0, *own

    def _size(self, view: View, width: int, height: int) -> tuple[int, int]:
        """Return the size that a view wants in a place of this width."""
        found = [width, height]
        for i, name in enumerate(("layout_width", "layout_height")):
            value = view.get(name)
            if value.endswith("dp") and self.dp(value):
                found[i] = self.dp(value)
            elif value == "wrap_content":
                found[i] = self._wrapped(view, width)[i]
        return found[0], found[1]

    def _wrapped(self, view: View, width: int) -> tuple[int, int]:
        left, top, right, bottom = self._pads(view)
        if view.kind in ("TextView", "Button"):
            font, lines = self._font(view), self._lines(view, width - left - right)
            wide = max(round(font.getlength(line)) for line in lines) + left + right
            high = self._line_height(view) * len(lines) + top + bottom
            return wide, max(high, self.dp(view.get("minHeight", "0dp")))
        if view.kind == "ProgressBar":
            return width, self.dp("16dp")
        if view.kind == CHART:
            return width, round(view.state["chart"]["height"] * self.dp(CHART_LETTER))
        boxes = [box for _, box in self._place(view, width - left - right, 0)]
        return width, max((at + height for _, at, _, height in boxes), default=0) + top + bottom

    def _font(self, view: View) -> ImageFont.FreeTypeFont:
        return self._font_of(self.dp(view.get("textSize", "15sp")))

    def _font_of(self, size: int) -> ImageFont.FreeTypeFont:
        if self.resources.device.language:  # Pillow's own font has no letters but English ones.
            with contextlib.suppress(OSError):
                return ImageFont.truetype("DejaVuSansCondensed.ttf", size)
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font

    def _line_height(self, view: View) -> int:
        return round(self.dp(view.get("textSize", "15sp")) * 1.35)

    def _lines(self, view: View, width: int) -> list[str]:
        font, lines = self._font(view), []
        for paragraph in self.resources.text(view.get("text")).split("\n"):
            line = ""
            for word in paragraph.split(" "):
                longer = f"{line} {word}".strip()
                if line and font.getlength(longer) > width:
                    lines.append(line)
                    longer = word
                line = longer
            lines.append(line)
        return lines

    def _write(self, x: float, y: float, line: str, font: ImageFont.FreeTypeFont, ink: str, anchor: str = "la") -> None:
        self.pen.text((x, y), line, fill=ink, font=font, anchor=anchor)
        left, top, right, bottom = (round(v) for v in self.pen.textbbox((x, y), line, font=font, anchor=anchor))
        if line and top < self.image.height:
            self.written.append(Written(text=line, box=(left, top, right, bottom)))

    def _text(self, view: View, x: int, y: int, width: int, height: int) -> None:
        left, top, right, _ = self._pads(view)
        ink = self.resources.color(view.get("textColor", "@color/text"))
        for number, line in enumerate(self._lines(view, width - left - right)):
            self._write(x + left, y + top + number * self._line_height(view), line, self._font(view), ink)

    def _button(self, view: View, x: int, y: int, width: int, height: int) -> None:
        is_enabled = view.state.get("enabled", True)
        fill, radius = self.resources.shape(view.get("background"), is_enabled=is_enabled)
        self.pen.rounded_rectangle((x, y, x + width, y + height), min(self.dp(radius), height // 2), fill=fill)
        ink = self.resources.color(view.get("textColor"), is_enabled=is_enabled)
        left, _, right, _ = self._pads(view)
        lines = self._lines(view, width - left - right)
        for number, line in enumerate(lines):
            middle = y + height / 2 + (number - (len(lines) - 1) / 2) * self._line_height(view)
            self._write(x + width / 2, middle, line, self._font(view), ink, "mm")

    def _spinner(self, view: View, x: int, y: int, width: int, height: int) -> None:
        ink = self.resources.color("@color/text")
        middle, size = y + height / 2, self.dp("5dp")
        font = self._font_of(self.dp("16sp"))
        line = view.get("text")
        while font.getlength(line) > width - self.dp("28dp") and len(line) > 1:
            line = line.removesuffix("\u2026")[:-1] + "\u2026"
        self._write(x, middle, line, font, ink, "lm")
        right = x + width - self.dp("16dp")
        corners = [(right - size, middle - size / 2), (right + size, middle - size / 2), (right, middle + size / 2)]
        self.pen.polygon(corners, fill=self.resources.color("@color/text_quiet"))

    def _bar(self, view: View, x: int, y: int, width: int, height: int) -> None:
        thin = min(height, self.dp("8dp"))
        y += (height - thin) // 2
        self.pen.rounded_rectangle((x, y, x + width, y + thin), thin // 2, fill=self.resources.color("@color/track"))
        progress = view.state.get("progress", 0)
        begin, end = (0.3, 0.6) if progress < 0 else (0.0, progress / float(view.get("max")))
        if end > 0:
            box = (x + width * begin, y, x + max(width * end, thin), y + thin)
            self.pen.rounded_rectangle(box, thin // 2, fill=self.resources.color("@color/accent"))

    def _picture(self, view: View, x: int, y: int, width: int, height: int) -> None:
        picture = view.state.get("picture")
        if view.get("src").startswith("@drawable/"):
            self._vector(view.get("src"), x, y, width, height)
        if picture is not None and view.get("visibility") != "gone":
            scale = min(width / picture.width, height / picture.height)
            small = picture.resize((round(picture.width * scale), round(picture.height * scale)))
            self.image.paste(small, (x + (width - small.width) // 2, y + (height - small.height) // 2))

    def _vector(self, name: str, x: int, y: int, width: int, height: int) -> None:
        """Draw a vector drawable of straight lines: M, l, h and v alone."""
        root = ET.parse(self.resources.folder / "drawable" / f"{name.removeprefix('@drawable/')}.xml").getroot()
        across, down = (float(root.get(f"{ANDROID}viewport{side}", "1")) for side in ("Width", "Height"))
        for path in root.iter("path"):
            for line in _outlines(path.get(f"{ANDROID}pathData", "")):
                places = [(x + px * width / across, y + py * height / down) for px, py in line]
                if fill := path.get(f"{ANDROID}fillColor"):
                    self.pen.polygon(places, fill=self.resources.color(fill))
                if stroke := path.get(f"{ANDROID}strokeColor"):
                    thick = round(float(path.get(f"{ANDROID}strokeWidth", "1")) * width / across)
                    self.pen.line(places, fill=self.resources.color(stroke), width=thick, joint="curve")

    def _chart(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """Draw a chart's marks, as ChartView.java does."""
        letter, font = self.dp(CHART_LETTER), self._font_of(self.dp(CHART_LETTER))
        for mark in view.state["chart"]["marks"]:
            ink, flat = self.resources.color(INKS[mark["ink"]]), mark["places"]
            places = [
                (x + flat[i] * width + flat[i + 1] * letter, y + flat[i + 2] * height + flat[i + 3] * letter)
                for i in range(0, len(flat), 4)
            ]
            if mark["kind"] == "text":
                words, at = self.resources.say(mark["text"]), places[0][0] - x
                room = (width - at, 2 * min(at, width - at), at)[mark["anchor"]]
                smaller = min(1, max(0.5, room / max(1, font.getlength(words))))
                fitting = self._font_of(int(letter * smaller)) if smaller < 1 else font
                self._write(*places[0], words, fitting, ink, ("ls", "ms", "rs")[mark["anchor"]])
            elif mark["kind"] == "area":
                self.pen.polygon(places, fill=ink)
            else:
                thick = self.dp("1dp") if mark["ink"] in ("track", "quiet") else self.dp("2dp")
                dashed = mark["kind"] == "dashed"
                for line in _dashes(places, self.dp("4dp"), self.dp("3dp")) if dashed else [places]:
                    self.pen.line(line, fill=ink, width=thick, joint="curve")


def _outlines(data: str) -> Iterator[list[tuple[float, float]]]:
    """Yield the lines of a vector drawable's pathData."""
    line: list[tuple[float, float]] = []
    for step, numbers in re.findall(r"([Mlhv])([-\d.,]+)", data):
        values = [float(value) for value in numbers.split(",")]
        if step == "M":
            if line:
                yield line
            line = [(values[0], values[1])]
        else:
            right, down = values if step == "l" else (values[0], 0.0) if step == "h" else (0.0, values[0])
            line.append((line[-1][0] + right, line[-1][1] + down))
    yield line


def _dashes(places: list[tuple[float, float]], drawn: float, left_out: float) -> Iterator[list[tuple[float, float]]]:
    """Cut a line into dashes of a length, with gaps."""
    walked = 0.0
    for (x1, y1), (x2, y2) in itertools.pairwise(places):
        length, at = math.hypot(x2 - x1, y2 - y1), 0.0
        while at < length:
            phase = (walked + at) % (drawn + left_out)
            is_drawn = phase < drawn
            end = min(length, at + (drawn if is_drawn else drawn + left_out) - phase)
            if is_drawn:
                yield [(x1 + (x2 - x1) * s / length, y1 + (y2 - y1) * s / length) for s in (at, end)]
            at = max(end, at + 1e-6)
        walked += length
