"""Draw the app's screen in each of its states, from its own layout files and what its own classes say of the state.

This is no screenshot: fonts and widgets are not Android's. It shows what stands where, in which words and colours.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from android_demo.apk import check, golden
from android_demo.apk import compile as compiling
from android_demo.apk.layout import Painter, Resources, View

PHONE = (360, 740)  # dp
SCREENS = Path(__file__).parent / "screens"
# State, by night, on its side.
DRAWN = (
    ("loading", False, False),
    ("ready", False, False),
    ("working", False, False),
    ("classified", False, False),
    ("classified", True, False),
    ("classified", False, True),
    ("live", True, True),
    ("warming_up", False, False),
    ("measuring", True, False),
    ("measured", False, False),
    ("no_model", False, False),
    ("manifest_missing", False, False),
    ("model_damaged", True, False),
    ("too_large", False, False),
    ("unreadable", False, False),
    ("no_camera", False, False),
    ("camera_refused", True, False),
    ("camera_failed", False, True),
)
WITH_PICTURE = ("classified", "live", "measuring", "measured", "warming_up", "working")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderConfig:
    """Where the pictures go."""

    output: Path = SCREENS


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m android_demo.render_screens", description=__doc__)
    parser.add_argument("--output", type=Path, default=SCREENS, metavar="DIR", help="default: android_demo/screens")
    return parser


def run(config: RenderConfig) -> tuple[Path, ...]:
    """Draw all states and return the files."""
    with tempfile.TemporaryDirectory(prefix="edge_vit-screens-") as scratch:
        probe = check.compile_probe(Path(scratch))
        (states,) = golden.ask(["java"], [Path(scratch) / "core", probe], [{"do": "states"}])
    config.output.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, is_night, is_wide in DRAWN:
        words = [name, "night" if is_night else "", "landscape" if is_wide else ""]
        path = config.output / ("_".join(filter(None, words)) + ".png")
        image = render(name, states[name], is_night=is_night, is_wide=is_wide)
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        drawn.append(path)
    return tuple(drawn)


def render(name: str, content: dict, *, is_night: bool, is_wide: bool) -> Image.Image:
    """Draw one state; `content` is what edgevit.core.ScreenContent makes of it."""
    resources = Resources(compiling.APP / "main" / "res", is_night=is_night, is_wide=is_wide)
    width, height = reversed(PHONE) if is_wide else PHONE
    screen = resources.inflate("main")
    fill(screen, content, is_live=name == "live")
    if name in WITH_PICTURE:
        picture = golden.scene(320, 240, 5, noise=0)
        screen.find("camera_view" if name == "live" else "picture").state["picture"] = picture
    return Painter(resources, width, height).paint(screen)


def fill(screen: View, content: dict, *, is_live: bool) -> None:
    """Copy a state into the views, as ClassifierScreen.show does."""
    for name in ("message", "hint", "latency"):
        screen.find(name).state |= {"text": content[name], "visibility": "visible" if content[name] else "gone"}
    if content["is_problem"]:
        screen.find("message").state["textColor"] = "@color/problem"
    visibility = "visible" if content["is_busy"] else "gone"
    screen.find("progress").state |= {"progress": content["progress"], "visibility": visibility}
    for i, row in enumerate(screen.find("rows").children):
        row.state["visibility"] = "visible" if i < len(content["rows"]) else "gone"
        if i < len(content["rows"]):
            one = content["rows"][i]
            row.find("row_label").state["text"] = one["label"]
            row.find("row_percent").state["text"] = one["percent"]
            row.find("row_bar").state["progress"] = one["bar"]
    screen.find("pick").state["enabled"] = content["can_classify"]
    camera = "@string/camera_stop" if is_live else "@string/camera"
    screen.find("camera").state |= {"enabled": content["can_classify"] or is_live, "text": camera}
    measure = "@string/stop" if content["can_stop"] else "@string/benchmark"
    screen.find("measure").state |= {"enabled": content["can_measure"] or content["can_stop"], "text": measure}
    screen.find("share").state["enabled"] = content["can_share"]
    screen.find("camera_view").state["visibility"] = "visible" if is_live else "gone"
    screen.find("picture").state["visibility"] = "gone" if is_live else "visible"
    for name, text in (("models", "levit_128s_int8"), ("runtimes", "ExecuTorch"), ("threads", "1")):
        screen.find(name).state["text"] = text


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        paths = run(RenderConfig(output=arguments.output))
    except (ValueError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
