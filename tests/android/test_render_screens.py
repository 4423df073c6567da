"""The drawn screens come from the app's own layouts and words."""

import pytest

from android_demo import render_screens
from android_demo.apk import compile as compiling
from android_demo.apk.layout import Resources


@pytest.fixture(scope="module")
def states(ask):
    return ask({"do": "states"})[0]


def test_every_state_is_drawn_or_much_like_one_that_is(states):
    assert {name for name, _, _ in render_screens.DRAWN} <= states.keys()
    undrawn = states.keys() - {name for name, _, _ in render_screens.DRAWN}
    assert undrawn == {"stopped", "no_runtime", "long_and_narrow", "no_picker"}


@pytest.mark.parametrize("is_night", [False, True])
@pytest.mark.parametrize("is_wide", [False, True])
def test_screens_differ_and_use_the_colours(is_night, is_wide, states):
    images = {
        name: render_screens.render(name, states[name], is_night=is_night, is_wide=is_wide)
        for name in ("ready", "classified", "camera_refused")
    }
    assert len({image.tobytes() for image in images.values()}) == 3
    size = (1480, 720) if is_wide else (720, 1480)
    assert all(image.size == size for image in images.values())
    ink = (0xFF, 0x8A, 0x80) if is_night else (0xA4, 0x26, 0x2C)  # "problem" in colors.xml
    colors = {color for _, color in images["camera_refused"].getcolors(1 << 20)}
    assert ink in colors
    assert ink not in {color for _, color in images["ready"].getcolors(1 << 20)}


def test_all_buttons_are_in_the_layout():
    resources = Resources(compiling.APP / "main" / "res", is_night=False, is_wide=False)
    assert {view.get("id") for view in resources.inflate("main").walk() if view.kind == "Button"} == {
        "@+id/pick", "@+id/camera", "@+id/measure", "@+id/share",
    }  # fmt: skip


def test_a_view_that_is_not_there_is_named():
    resources = Resources(compiling.APP / "main" / "res", is_night=True, is_wide=True)
    with pytest.raises(ValueError, match="the layout has no view nowhere"):
        resources.inflate("main").find("nowhere")


def test_night_has_every_colour_of_day():
    day = Resources(compiling.APP / "main" / "res", is_night=False, is_wide=False)
    night = day._values("values-night/colors.xml", "color")
    assert night.keys() == day.colors.keys()
