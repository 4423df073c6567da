"""What the screen says and offers in each state."""

import pytest

from android_demo.apk import compile as compiling
from android_demo.apk.layout import Device, Resources

PROBLEMS = {
    "no_model", "manifest_missing", "model_damaged", "no_runtime", "too_large", "unreadable", "long_and_narrow",
    "no_picker", "no_camera", "camera_refused", "camera_failed",
}  # fmt: skip


@pytest.fixture(scope="module")
def states(ask):
    """Every state's screen, its texts in English."""
    say = Resources(compiling.APP / "main/res", Device()).say
    found = ask({"do": "states"})[0]
    for one in found.values():
        one |= {"message": say(one["message"]), "hint": say(one["hint"]), "details": [say(d) for d in one["details"]]}
        for row in one["rows"]:
            row["percent"] = say(row["percent"])
    return found


def test_problems_say_what_to_do(states):
    assert {name for name, shown in states.items() if shown["is_problem"]} == PROBLEMS
    for name in PROBLEMS:
        assert states[name]["message"] and states[name]["hint"], name
        assert not states[name]["is_busy"] and not states[name]["can_share"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_model", "This app was built without a model."),
        ("manifest_missing", "its manifest levit_128s_int8.pte.json is missing"),
        ("model_damaged", "not the file that its manifest describes"),
        ("no_runtime", "No runtime for tflite files"),
        ("too_large", "too large: 16320 x 12240 pixels"),
        ("unreadable", "cannot be read (unknown format)"),
        ("long_and_narrow", "The picture cannot be used."),
        ("no_picker", "No app on this device offers pictures."),
        ("no_camera", "no camera that can be used"),
        ("camera_refused", "The camera was not allowed."),
        ("camera_failed", "The camera stopped (in use by another app)."),
    ],
)
def test_messages(name, message, states):
    assert message in states[name]["message"]


def test_without_a_model_nothing_can_be_classified(states):
    for name in ("no_model", "manifest_missing", "model_damaged", "no_runtime"):
        assert not states[name]["can_classify"] and not states[name]["can_measure"]
    for name in ("too_large", "unreadable", "no_camera", "camera_refused"):
        assert states[name]["can_classify"] and states[name]["can_measure"]


def test_classes_have_bars_and_latency(states):
    shown = states["classified"]
    assert [(row["label"], row["percent"], row["bar"]) for row in shown["rows"]] == [
        ("golf ball", "91.4 %", 914), ("church", "5.2 %", 52), ("parachute", "0.8 %", 8),
    ]  # fmt: skip
    assert shown["details"] == [
        "inference p50 5.1 ms, p90 5.8 ms over 50",
        "preparing the picture 6.1 ms",
        "before: church 97 %, parachute 61 %",
    ]
    assert [row["is_likely"] for row in shown["rows"]] == [True, False, False] and not shown["message"]


def test_below_the_threshold_nothing_is_claimed(states):
    shown = states["unsure"]
    assert shown["message"] == "Not sure: no class reaches 30 %."
    assert len(shown["rows"]) == 3 and not any(row["is_likely"] for row in shown["rows"])


def test_busy_states_can_only_be_waited_for_or_stopped(states):
    for name in ("loading", "working", "warming_up", "measuring"):
        assert states[name]["is_busy"] and not states[name]["can_classify"] and not states[name]["can_measure"]
    assert {name for name, shown in states.items() if shown["can_stop"]} == {"warming_up", "measuring"}
    assert states["measuring"]["progress"] == 62 and states["warming_up"]["progress"] == -1
    assert states["measuring"]["message"] == "Measuring, inference 62 of 100"


def test_only_a_result_can_be_shared(states):
    assert {name for name, shown in states.items() if shown["can_share"]} == {"measured"}
    assert states["measured"]["hint"] == "not reproducible"
    assert states["stopped"]["message"] == "Benchmark stopped"


def test_the_camera_s_own_stage_is_told(states):
    assert states["live"]["details"][1:] == ["converting the frame 1.9 ms", "preparing the picture 2.3 ms"]


def test_what_runs_the_model_is_told(states):
    assert states["ready"]["hint"] == "Runs on: CPU"
