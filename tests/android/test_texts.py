"""Every text of the core has words in the app's resources, in the same order as the app looks them up."""

import re
from pathlib import Path

from android_demo.apk.layout import Device, Resources

DEMO = Path(__file__).parents[2] / "android_demo"


def names():
    text = (DEMO / "core/src/main/java/edgevit/core/Say.java").read_text()
    return [name.lower() for name in re.findall(r"[A-Z_]{3,}", text[text.index("enum Say {") :])]


def test_the_app_looks_them_up_in_order():
    text = (DEMO / "app/src/main/java/edgevit/demo/Texts.java").read_text()
    assert re.findall(r"R\.string\.(\w+)", text) == names()


def test_all_have_words():
    strings = Resources(DEMO / "app/src/main/res", Device()).strings
    assert set(names()) <= strings.keys() and len(names()) > 40


def test_no_words_are_left_in_the_core():
    """What the screen says comes from resources; messages of exceptions are the runtime's and the tools' own."""
    for name in ("ScreenContent", "Problems"):
        text = (DEMO / f"core/src/main/java/edgevit/core/{name}.java").read_text()
        assert re.findall(r'"[A-Z][a-z]+ [^"]*"', text) == [], name
