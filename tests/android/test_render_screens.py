"""The drawn screens come from the app's own layouts and words, and every text on them can be read."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from android_demo import render_screens
from android_demo.apk import compile as compiling
from android_demo.apk import contrast, layout
from android_demo.apk.layout import Device, Resources
from edge_vit.evaluation import drawing

RES = compiling.APP / "main" / "res"
PHONE = {"width": 360, "height": 740}
WIDE = {"width": 740, "height": 360}
TABLET = {"width": 800, "height": 1280}


@pytest.fixture(scope="module")
def states(ask):
    return ask({"do": "states"})[0]


def test_every_state_is_drawn_or_much_like_one_that_is(states):
    drawn = {name for name, *_ in render_screens.DRAWN}
    assert drawn <= states.keys()
    assert states.keys() - drawn == {"stopped", "no_runtime", "long_and_narrow", "no_picker", "compared_missing"}
    words = {word for _, *words in render_screens.DRAWN for word in words}
    assert words == {"night", "landscape", "tablet", "de", "large"}


@pytest.mark.parametrize("is_night", [False, True])
@pytest.mark.parametrize("is_wide", [False, True])
def test_screens_differ_and_use_the_colours(is_night, is_wide, states):
    device = Device(is_night=is_night, **(WIDE if is_wide else PHONE))
    images = {
        name: render_screens.render(name, states[name], device).image
        for name in ("ready", "classified", "camera_refused")
    }
    assert len({image.tobytes() for image in images.values()}) == 3
    size = (1480, 720) if is_wide else (720, 1480)
    assert all(image.size == size for image in images.values())
    ink = (0xFF, 0x8A, 0x80) if is_night else (0xA4, 0x26, 0x2C)  # "problem" in colors.xml
    colors = {color for _, color in images["camera_refused"].getcolors(1 << 20)}
    assert ink in colors
    assert ink not in {color for _, color in images["ready"].getcolors(1 << 20)}


@pytest.mark.parametrize(
    "device",
    [
        Device(**PHONE),
        Device(is_night=True, language="de", **PHONE),
        Device(font_scale=2.0, **PHONE),
        Device(is_night=True, **TABLET),
    ],
    ids=["phone", "night, German", "large font", "tablet by night"],
)
@pytest.mark.parametrize(
    "name", ["ready", "unsure", "measuring", "camera_refused", "measured_long", "compared", "live"]
)
def test_every_text_stands_out(name, device, states):
    """Measured on the pixels, disabled buttons included."""
    painter = render_screens.render(name, states[name], device)
    found = contrast.measure(painter.image, painter.written)
    assert len(found) >= 4
    assert {text: value for text, value in found.items() if value < contrast.LEAST} == {}


def test_a_faint_text_would_be_found(states, monkeypatch):
    """White on the disabled button's grey, as it was once."""
    color = Resources.color
    monkeypatch.setattr(Resources, "color", lambda self, name, is_enabled=True: color(self, name))
    painter = render_screens.render("loading", states["loading"], Device())
    assert contrast.measure(painter.image, painter.written)["Choose picture"] < 2


@pytest.mark.parametrize("is_night", [False, True])
def test_lines_and_bars_of_charts_stand_out(is_night):
    """WCAG 2.2, 1.4.11: what must be seen has 3:1 against its ground."""
    resources = Resources(RES, Device(is_night=is_night))

    def rgb(name):
        return ImageColor.getrgb(resources.color(name))

    for ink in ("accent", "second", "heat", "text_quiet"):
        assert contrast.ratio(rgb(ink), rgb("background")) >= 3, ink


def test_charts_are_drawn_within_the_screen_and_move_with_the_font(states):
    heights = []
    for scale in (1.0, 2.0):
        painter = render_screens.render("compared", states["compared"], Device(font_scale=scale, **TABLET))
        assert all(one.box[0] >= 0 and one.box[2] <= painter.image.width for one in painter.written)
        at = {one.text: one.box for one in painter.written}
        heights.append(at["Latency over time"][1] - at["Distribution of latency"][1])
    assert heights[1] > 1.6 * heights[0]


def test_where_there_is_no_picture_yet_a_sign_stands(states):
    quiet = ImageColor.getrgb(Resources(RES, Device()).color("text_quiet"))
    for name, is_there in (("ready", True), ("classified", False)):
        image = render_screens.render(name, states[name], Device()).image.crop((200, 300, 520, 600))
        assert (quiet in {color for _, color in image.getcolors(1 << 20)}) is is_there, name


def test_what_is_pressed_is_large_enough():
    """48 dp, see support.google.com/accessibility/android/answer/7101858."""
    resources = Resources(RES, Device())
    pressed = [v for v in resources.inflate("main").walk() if v.kind in ("Button", "Spinner")]
    heights = [resources.length(view.get("minHeight") or view.get("layout_height")) for view in pressed]
    assert len(heights) == 11 and min(heights) >= 48 * layout.SCALE


def test_outlines_of_a_vector_drawable():
    assert list(layout._outlines("M3,8v-5h5M6,17l4,-6z")) == [[(3, 8), (3, 3), (8, 3)], [(6, 17), (10, 11)]]


def test_every_screen_goes_into_a_folder_that_is_named(capsys):
    with pytest.raises(SystemExit) as ended:
        render_screens.main(["--every"])
    assert ended.value.code == 2 and "--every draws 36 pictures a state; say with --output" in capsys.readouterr().err


@pytest.mark.slow
def test_every_text_of_every_state_stands_out(states, tmp_path, capsys):
    """By day and night, on phones, on their side and tablets, in both languages and three font sizes."""
    assert render_screens.main(["--every", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{36 * len(states)} screens, least contrast 5.")


def test_texts_of_charts_find_room_with_the_largest_letters(states):
    for name in ("live", "compared", "measured_long"):
        device = Device(font_scale=2.0, language="de", width=360, height=2000)
        painter = render_screens.render(name, states[name], device)
        outside = [one.text for one in painter.written if one.box[2] > painter.image.width or one.box[0] < 0]
        assert outside == []


def test_a_dashed_line_has_gaps():
    dashes = list(layout._dashes([(0.0, 0.0), (100.0, 0.0), (100.0, 50.0)], 8, 6))
    drawn = sum(abs(x2 - x1) + abs(y2 - y1) for (x1, y1), (x2, y2) in dashes)
    assert len(dashes) >= 10 and drawn == pytest.approx(150 * 8 / 14, abs=8)


def test_only_the_main_action_is_filled(states):
    painter = render_screens.render("ready", states["ready"], Device())
    buttons = {one.text: painter.image.getpixel((one.box[0] - 4, one.box[1])) for one in painter.written}
    accent = ImageColor.getrgb(painter.resources.color("accent"))
    assert [text for text, ground in buttons.items() if ground == accent] == ["Choose picture"]


def test_a_line_that_the_edge_cuts_is_left_out(states):
    """It scrolls; the tips of its letters are soft edges alone."""
    painter = render_screens.render("taking_turns", states["taking_turns"], Device(language="de"))
    cut = [one.text for one in painter.written if one.box[3] > painter.image.height]
    found = contrast.measure(painter.image, painter.written)
    assert cut == ["Kein anderes M\u2026"] and cut[0] not in found and min(found.values()) > 5


def test_ratios_are_those_of_the_standard():
    assert contrast.ratio((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast.ratio((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


def test_large_fonts_make_buttons_grow(states):
    small, large = (render_screens.render("ready", states["ready"], Device(font_scale=s)) for s in (1.0, 2.0))
    lines = [one.text for one in large.written]
    assert "Choose picture" in [one.text for one in small.written]
    assert "Choose" in lines and "picture" in lines  # two lines instead of a cut one
    assert all(one.box[2] <= large.image.width for one in large.written)


def test_tablets_have_margins(states):
    (title,) = [
        one
        for one in render_screens.render("ready", states["ready"], Device(**TABLET)).written
        if one.text == "Edge ViT"
    ]
    assert 96 * 2 <= title.box[0] < 100 * 2


def test_content_keeps_clear_of_the_status_bar(states):
    painter = render_screens.render("ready", states["ready"], Device())
    assert min(one.box[1] for one in painter.written) >= 2 * render_screens.STATUS_BAR


def test_german_says_the_same_with_its_own_comma(states):
    say = Resources(RES, Device(language="de")).say
    details = [say(one) for one in states["classified"]["details"]]
    assert details[0] == "Inferenz p50 5,1 ms, p90 5,8 ms bei 50"
    assert say(states["camera_failed"]["message"]) == "Die Kamera hat angehalten (von einer anderen App benutzt)."
    assert say(states["camera_refused"]["hint"]).startswith("Erlaube sie in den Systemeinstellungen")


def test_all_buttons_are_in_the_layout():
    assert {view.get("id") for view in Resources(RES, Device()).inflate("main").walk() if view.kind == "Button"} == {
        "@+id/pick", "@+id/sample", "@+id/camera", "@+id/measure", "@+id/share",
    }  # fmt: skip


def test_a_view_that_is_not_there_is_named():
    resources = Resources(RES, Device(is_night=True, **WIDE))
    with pytest.raises(ValueError, match="the layout has no view nowhere"):
        resources.inflate("main").find("nowhere")


def test_night_has_every_colour_of_day():
    day = Resources(RES, Device())
    night = day._values("values-night/colors.xml", "color")
    assert night.keys() == day.colors.keys()


def test_the_sample_is_the_golf_ball_that_classify_draws():
    sample = np.asarray(Image.open(render_screens.SAMPLE).convert("RGB"), float)
    drawn = np.asarray(drawing.draw("golf ball", sample.shape[0]), float)
    assert np.abs(sample - drawn).mean() < 12
