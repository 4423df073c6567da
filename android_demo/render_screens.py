"""Draw the app's screen in each of its states, from its own layout files and what its own classes say of the state.

This is no screenshot: fonts and widgets are not Android's. It shows what stands where, in which words and colours.
"""

import argparse
import itertools
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from android_demo.apk import check, contrast, golden
from android_demo.apk import compile as compiling
from android_demo.apk.layout import INKS, SCALE, Device, Painter, Resources, View

SCREENS = Path(__file__).parent / "screens"
PHONE, TABLET = (360, 740), (800, 1280)  # dp
# Of the system, in dp: the app is drawn behind them and keeps clear of them.
STATUS_BAR, GESTURE_BAR = 24, 20


def _device(*words: str) -> Device:
    """Return the device that the words of a file name stand for."""
    width, height = TABLET if "tablet" in words else PHONE
    if "landscape" in words:
        width, height = height, width
    return Device(
        width=width,
        height=height,
        is_night="night" in words,
        language="de" if "de" in words else "",
        font_scale=2.0 if "huge" in words else 1.5 if "large" in words else 1.0,
    )


# State, and what is unusual about the device.
DRAWN = (
    ("loading",),
    ("ready",),
    ("ready", "night"),
    ("ready", "tablet"),
    ("working",),
    ("classified",),
    ("classified", "night"),
    ("classified", "landscape"),
    ("classified", "de"),
    ("classified", "large"),
    ("classified", "tablet", "night"),
    ("unsure",),
    ("unsure", "night", "de"),
    ("live",),
    ("live", "night", "landscape"),
    ("warming_up",),
    ("measuring", "night"),
    ("measuring", "de", "large"),
    ("taking_turns",),
    ("measured",),
    ("measured", "de"),
    ("measured", "landscape"),
    ("measured_long", "night"),
    ("measured_long", "large", "de"),
    ("compared",),
    ("compared", "night", "de"),
    ("compared", "tablet"),
    ("no_model",),
    ("manifest_missing",),
    ("model_damaged", "night"),
    ("too_large",),
    ("too_large", "de"),
    ("unreadable",),
    ("no_camera",),
    ("camera_refused", "night"),
    ("camera_failed", "landscape"),
    ("camera_failed", "night", "large", "de"),
)
# Every state in each of these, for --every.
KINDS = tuple(
    tuple(word for word in words if word)
    for words in itertools.product(("", "night"), ("", "landscape", "tablet"), ("", "de"), ("", "large", "huge"))
)
WITH_PICTURE = ("classified", "live", "measuring", "taking_turns", "warming_up", "working", "unsure")
SAMPLE = compiling.APP / "main/res/drawable-nodpi/sample.webp"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderConfig:
    """Where the pictures go; `is_every` draws each state on each kind of device instead of those that are kept."""

    output: Path = SCREENS
    is_every: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture of a screen, and the text on it that stands out least, with its contrast ratio."""

    path: Path
    least_contrast: float
    text: str


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m android_demo.render_screens", description=__doc__)
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: android_demo/screens")
    every = "every state by day and night, on phones, on their side and tablets, in each language and font size"
    parser.add_argument("--every", action="store_true", help=f"{every}; into --output, which it needs")
    return parser


def run(config: RenderConfig) -> tuple[Drawn, ...]:
    """Draw all states and return the files with what was measured on them."""
    with tempfile.TemporaryDirectory(prefix="edge_vit-screens-") as scratch:
        probe = check.compile_probe(Path(scratch))
        (states,) = golden.ask(["java"], [Path(scratch) / "core", probe], [{"do": "states"}])
    config.output.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, *words in [(name, *kind) for name in states for kind in KINDS] if config.is_every else DRAWN:
        path = config.output / ("_".join([name, *words]) + ".png")
        painter = render(name, states[name], _device(*words))
        if config.is_every:
            painter.image.save(path, compress_level=1)  # A thousand of them: what is small takes most of the time.
        else:
            painter.image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
        found = contrast.measure(painter.image, painter.written)
        text = min(found, key=lambda one: found[one])
        drawn.append(Drawn(path=path, least_contrast=found[text], text=text))
    return tuple(drawn)


def render(name: str, content: dict, device: Device) -> Painter:
    """Draw one state; `content` is what edgevit.core.ScreenContent makes of it."""
    resources = Resources(compiling.APP / "main" / "res", device)
    screen = resources.inflate("main")
    fill(screen, content, resources, is_live=name == "live")
    screen.find("root").state["paddingTop"] = f"{STATUS_BAR}dp"
    if name in WITH_PICTURE:
        view = screen.find("camera_view" if name == "live" else "picture")
        view.state["picture"] = Image.open(SAMPLE).convert("RGB")
        screen.find("placeholder").state["visibility"] = "gone"
    painter = Painter(resources)
    painter.paint(screen)
    _gesture_bar(painter)
    return painter


def _gesture_bar(painter: Painter) -> None:
    middle, low = painter.image.width / 2, painter.image.height - GESTURE_BAR * SCALE / 2
    half = 54 * SCALE
    box = (middle - half, low - 2 * SCALE, middle + half, low + 2 * SCALE)
    painter.pen.rounded_rectangle(box, 2 * SCALE, fill=painter.resources.color("text_quiet"))


def fill(screen: View, content: dict, resources: Resources, *, is_live: bool) -> None:
    """Copy a state into the views, as ClassifierScreen.show does."""
    texts = {name: resources.say(content[name]) for name in ("message", "hint")}
    texts["details"] = "\n".join(resources.say(one) for one in content["details"])
    for name, text in texts.items():
        screen.find(name).state |= {"text": text, "visibility": "visible" if text else "gone"}
    if content["is_problem"]:
        screen.find("message").state["textColor"] = "@color/problem"
    visibility = "visible" if content["is_busy"] else "gone"
    screen.find("progress").state |= {"progress": content["progress"], "visibility": visibility}
    for i, row in enumerate(screen.find("rows").children):
        row.state["visibility"] = "visible" if i < len(content["rows"]) else "gone"
        if i < len(content["rows"]):
            one = content["rows"][i]
            ink = "@color/text" if one["is_likely"] else "@color/text_quiet"
            row.find("row_label").state |= {"text": one["label"], "textColor": ink}
            row.find("row_percent").state |= {"text": resources.say(one["percent"]), "textColor": ink}
            row.find("row_bar").state["progress"] = one["bar"]
    for name in ("pick", "sample"):
        screen.find(name).state["enabled"] = content["can_classify"]
    camera = "@string/camera_stop" if is_live else "@string/camera"
    screen.find("camera").state |= {"enabled": content["can_classify"] or is_live, "text": camera}
    measure = "@string/stop" if content["can_stop"] else "@string/benchmark"
    screen.find("measure").state |= {"enabled": content["can_measure"] or content["can_stop"], "text": measure}
    screen.find("sharing").state["visibility"] = "visible" if content["can_share"] else "gone"
    for i, view in enumerate(screen.find("figures").children):
        view.state["visibility"] = "visible" if i < len(content["figures"]) else "gone"
        if i < len(content["figures"]):
            one = content["figures"][i]
            view.find("figures_name").state |= {"text": one["name"], "textColor": f"@color/{INKS[one['ink']]}"}
            for percent, value in zip((50, 90, 99), one["values"], strict=True):
                view.find(f"value_{percent}").state["text"] = resources.say(value)
    for i, view in enumerate(screen.find("charts").children):
        is_shown = i < len(content["charts"])
        view.state |= {"visibility": "visible" if is_shown else "gone", "chart": (content["charts"] + [None] * 2)[i]}
    screen.find("preview").state["visibility"] = "visible" if content["has_picture"] else "gone"
    screen.find("camera_view").state["visibility"] = "visible" if is_live else "gone"
    screen.find("picture").state["visibility"] = "gone" if is_live else "visible"
    chosen = {"models": "levit_128s_int8", "runtimes": "ExecuTorch CPU", "threads": "1"}
    chosen["compared"] = "levit_128s_fp32" if len(content["figures"]) > 1 else resources.text("@string/alone")
    chosen["durations"] = resources.say({"say": "duration_seconds", "values": [5]})
    chosen["thresholds"] = resources.say({"say": "threshold_value", "values": [30]})
    for name, text in chosen.items():
        screen.find(name).state["text"] = text


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.every and not arguments.output:
        parser.error(f"--every draws {len(KINDS)} pictures a state; say with --output where they go")
    try:
        found = run(RenderConfig(output=arguments.output or SCREENS, is_every=arguments.every))
    except (ValueError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    for one in found:
        print(f"{one.path}: least contrast {one.least_contrast:.1f} ({one.text})")
    least = min(found, key=lambda one: one.least_contrast)
    print(f"{len(found)} screens, least contrast {least.least_contrast:.2f} ({least.text}, {least.path.name})")
    return 0 if least.least_contrast >= contrast.LEAST else 1


if __name__ == "__main__":
    raise SystemExit(main())
