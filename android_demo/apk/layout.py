"""Draw the app's own layout files, well enough to look at them: a small part of Android's layout rules.

Known are LinearLayout with weights, FrameLayout, ScrollView, include and merge, text, buttons, spinners, bars and
pictures, with styles and colours from the resources. Fonts and widgets are not Android's, so texts are not quite
as long as on a phone.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ANDROID = "{http://schemas.android.com/apk/res/android}"
SCALE = 2  # pixels of a dp


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


class Resources:
    """Strings, colours, styles and layouts of the app, by day or by night, upright or on its side."""

    def __init__(self, folder: Path, *, is_night: bool, is_wide: bool) -> None:
        self.folder, self.is_wide = folder, is_wide
        self.strings = self._values("values/strings.xml", "string")
        self.colors = self._values("values/colors.xml", "color")
        if is_night:
            self.colors |= self._values("values-night/colors.xml", "color")
        styles = ET.parse(folder / "values/styles.xml").getroot()
        self.styles = {s.get("name", ""): {i.get("name", "")[8:]: i.text or "" for i in s} for s in styles}

    def _values(self, name: str, tag: str) -> dict[str, str]:
        return {item.get("name", ""): item.text or "" for item in ET.parse(self.folder / name).getroot().iter(tag)}

    def color(self, name: str) -> str:
        return self.colors[name.removeprefix("@color/")]

    def text(self, value: str) -> str:
        return self.strings[value.removeprefix("@string/")] if value.startswith("@string/") else value

    def inflate(self, name: str) -> View:
        """Return the views of a layout."""
        wide = self.folder / "layout-land" / f"{name}.xml"
        path = wide if self.is_wide and wide.exists() else self.folder / "layout" / f"{name}.xml"
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


def dp(value: str) -> int:
    """Return a length such as 16dp or 13sp in pixels."""
    return round(float(value.removesuffix("dp").removesuffix("sp") or 0) * SCALE)


class Painter:
    """Measures and draws views."""

    def __init__(self, resources: Resources, width: int, height: int) -> None:
        self.resources = resources
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), resources.color("background"))
        self.pen = ImageDraw.Draw(self.image)

    def paint(self, view: View) -> Image.Image:
        """Draw a whole screen."""
        self._draw(view, 0, 0, *self.image.size)
        return self.image

    def _draw(self, view: View, x: int, y: int, width: int, height: int) -> None:
        if view.get("background").startswith("@color/"):
            self.pen.rectangle((x, y, x + width, y + height), fill=self.resources.color(view.get("background")))
        if view.kind in ("LinearLayout", "FrameLayout", "ScrollView"):
            pad = dp(view.get("padding", "0dp"))
            for child, box in self._place(view, width - 2 * pad, height - 2 * pad):
                self._draw(child, x + pad + box[0], y + pad + box[1], box[2], box[3])
            return
        known = {"TextView": self._text, "Button": self._button, "Spinner": self._spinner, "ProgressBar": self._bar}
        known.get(view.kind, self._picture)(view, x, y, width, height)

    def _place(self, view: View, width: int, height: int) -> list[tuple[View, tuple[int, int, int, int]]]:
        """Return the visible children with their boxes inside the padding."""
        shown = [child for child in view.children if child.get("visibility") != "gone"]
        if view.kind != "LinearLayout":
            return [(child, (0, 0, width, height if view.kind == "FrameLayout" else 10**5)) for child in shown]
        is_row = view.get("orientation", "horizontal") == "horizontal"
        margins = [dp(child.get("layout_marginStart" if is_row else "layout_marginTop", "0dp")) for child in shown]
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

    def _size(self, view: View, width: int, height: int) -> tuple[int, int]:
        """Return the size that a view wants in a place of this width."""
        found = [width, height]
        for i, name in enumerate(("layout_width", "layout_height")):
            value = view.get(name)
            if value.endswith("dp") and dp(value):
                found[i] = dp(value)
            elif value == "wrap_content":
                found[i] = self._wrapped(view, width)[i]
        return found[0], found[1]

    def _wrapped(self, view: View, width: int) -> tuple[int, int]:
        if view.kind == "TextView":
            font, lines = self._font(view), self._lines(view, width)
            return max(round(font.getlength(line)) for line in lines), self._line_height(view) * len(lines)
        if view.kind == "ProgressBar":
            return width, dp("16dp")
        pad = 2 * dp(view.get("padding", "0dp"))
        boxes = [box for _, box in self._place(view, width - pad, 0)]
        return width, max((top + height for _, top, _, height in boxes), default=0) + pad

    def _font(self, view: View) -> ImageFont.FreeTypeFont:
        font = ImageFont.load_default(dp(view.get("textSize", "15sp")))
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font

    def _line_height(self, view: View) -> int:
        return round(dp(view.get("textSize", "15sp")) * 1.35)

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

    def _text(self, view: View, x: int, y: int, width: int, height: int) -> None:
        fill = self.resources.color(view.get("textColor", "@color/text"))
        for number, line in enumerate(self._lines(view, width)):
            self.pen.text((x, y + number * self._line_height(view)), line, fill=fill, font=self._font(view))

    def _button(self, view: View, x: int, y: int, width: int, height: int) -> None:
        is_enabled = view.state.get("enabled", True)
        fill = self.resources.color("@color/accent" if is_enabled else "@color/track")
        self.pen.rounded_rectangle((x, y, x + width, y + height), dp("8dp"), fill=fill)
        ink = self.resources.color("@color/on_accent" if is_enabled else "@color/text_quiet")
        middle = (x + width / 2, y + height / 2)
        self.pen.text(middle, self.resources.text(view.get("text")), fill=ink, font=self._font(view), anchor="mm")

    def _spinner(self, view: View, x: int, y: int, width: int, height: int) -> None:
        ink = self.resources.color("@color/text")
        middle, size = y + height / 2, dp("5dp")
        self.pen.text((x, middle), view.get("text"), fill=ink, font=ImageFont.load_default(dp("16sp")), anchor="lm")
        right = x + width - dp("16dp")
        corners = [(right - size, middle - size / 2), (right + size, middle - size / 2), (right, middle + size / 2)]
        self.pen.polygon(corners, fill=self.resources.color("@color/text_quiet"))

    def _bar(self, view: View, x: int, y: int, width: int, height: int) -> None:
        thin = min(height, dp("8dp"))
        y += (height - thin) // 2
        self.pen.rounded_rectangle((x, y, x + width, y + thin), thin // 2, fill=self.resources.color("@color/track"))
        progress = view.state.get("progress", 0)
        begin, end = (0.3, 0.6) if progress < 0 else (0.0, progress / float(view.get("max")))
        if end > 0:
            box = (x + width * begin, y, x + max(width * end, thin), y + thin)
            self.pen.rounded_rectangle(box, thin // 2, fill=self.resources.color("@color/accent"))

    def _picture(self, view: View, x: int, y: int, width: int, height: int) -> None:
        picture = view.state.get("picture")
        if picture is not None and view.get("visibility") != "gone":
            scale = min(width / picture.width, height / picture.height)
            small = picture.resize((round(picture.width * scale), round(picture.height * scale)))
            self.image.paste(small, (x + (width - small.width) // 2, y + (height - small.height) // 2))
