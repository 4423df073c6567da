"""What the screen says and offers in each state."""

import json

import pytest

from android_demo.apk import compile as compiling
from android_demo.apk.layout import Device, Resources

PROBLEMS = {
    "no_model", "manifest_missing", "model_damaged", "no_runtime", "too_large", "unreadable", "long_and_narrow",
    "no_picker", "no_camera", "camera_refused", "camera_failed", "compared_missing",
}  # fmt: skip


@pytest.fixture(scope="module")
def say():
    """Puts a text into English."""
    return Resources(compiling.APP / "main/res", Device()).say


@pytest.fixture(scope="module")
def states(ask, say):
    """Every state's screen, its texts in English."""
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
    for name in ("too_large", "unreadable", "no_camera", "camera_refused", "compared_missing"):
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
    assert {name for name, shown in states.items() if shown["can_stop"]} == {
        "warming_up", "measuring", "taking_turns",
    }  # fmt: skip
    assert states["measuring"]["progress"] == 62 and states["warming_up"]["progress"] == -1
    assert states["measuring"]["message"] == "Measuring, inference 62 of 100"


def test_only_a_result_can_be_shared(states):
    shared = {"classified", "unsure", "measured", "measured_long", "compared"}
    assert {name for name, shown in states.items() if shown["can_share"]} == shared
    assert {name for name, shown in states.items() if shown["json"]} == shared
    assert states["stopped"]["message"] == "Benchmark stopped" and states["stopped"]["hint"] == "stopped early"


def test_a_result_is_shared_as_text_and_as_json(states, say):
    lines = [say(one) for one in states["classified"]["text"]]
    assert lines[:3] == ["golf ball 91.4 %", "church 5.2 %", "parachute 0.8 %"] and len(lines) == 6
    plain = json.loads(states["classified"]["json"])
    assert [one["name"] for one in plain["classes"]] == ["golf ball", "church", "parachute"]
    assert plain["inference_us_p50"] == pytest.approx(5106.5) and plain["preprocess_us"] == 6100
    lines = [say(one) for one in states["compared"]["text"]]
    assert lines[1] == "levit_128s_int8, p50 4.5 ms, p90 4.9 ms, p99 5.4 ms"
    assert lines[3].startswith("levit_128s_fp32 takes 2.12 times as long as levit_128s_int8 (95 %: 2.0")


def test_measured_models_are_told_in_numbers(states, say):
    (alone,) = states["measured"]["figures"]
    assert (alone["name"], alone["ink"]) == ("levit_128s_int8", "first")
    assert [say(one) for one in alone["values"]] == ["4.4 ms", "4.8 ms", "5.1 ms"]
    assert [one["ink"] for one in states["compared"]["figures"]] == ["first", "second"]
    assert not states["measured"]["has_picture"] and states["classified"]["has_picture"]
    assert states["taking_turns"]["hint"] == "Turn 3 of 8"


def test_marks_are_in_the_reader_s_words(states):
    assert states["measured_long"]["hint"] == (
        "the device slowed itself down, latency drifted, measure again, the device was hot (light)"
    )


def drawn(chart, kind, ink):
    """Return the marks of a kind and colour as points at 1000 by 1000 pixels with letters of 10."""
    found = []
    for mark in chart["marks"]:
        if (mark["kind"], mark["ink"]) == (kind, ink):
            flat = mark["places"]
            points = [
                (1000 * flat[i] + 10 * flat[i + 1], 1000 * flat[i + 2] + 10 * flat[i + 3])
                for i in range(0, len(flat), 4)
            ]
            found.append((points, mark["text"]))
    return found


def test_the_histogram_has_every_latency_and_three_quantiles(states, say):
    histogram, _ = states["measured"]["charts"]
    ((outline, _),) = drawn(histogram, "area", "first")
    bottom = max(y for _, y in outline)
    heights = [bottom - y for _, y in outline[1:-1:2]]
    assert len(heights) == 40 and max(heights) == pytest.approx(bottom - min(y for _, y in outline))
    words = {say(text): points[0] for points, text in drawn(histogram, "text", "text")}
    assert list(words) == ["Distribution of latency", "p50", "p90", "p99"]
    assert words["p50"][0] < words["p90"][0] < words["p99"][0] + 50
    assert len({y for _, y in words.values()}) == 4  # each in a line of its own
    assert all(0 <= x <= 1000 and 0 <= y <= 1000 for mark in drawn(histogram, "dashed", "text") for x, y in mark[0])
    rules = [points[0][0] for points, _ in drawn(histogram, "dashed", "text")]
    assert rules == sorted(rules) and 0 < rules[0] < rules[2] < 1000


def test_two_models_have_a_common_axis(states):
    histogram, curve = states["compared"]["charts"]
    ((first, _),) = drawn(histogram, "area", "first")
    ((second, _),) = drawn(histogram, "area", "second")
    assert max(y for _, y in first) < min(y for _, y in second)  # one below the other

    def weight(outline):
        tops = [(x, max(y for _, y in outline) - y) for x, y in outline]
        return sum(x * h for x, h in tops) / sum(h for _, h in tops)

    assert weight(first) < 200 and weight(second) > 600
    lines = {ink: [points for points, _ in drawn(curve, "line", ink)] for ink in ("first", "second")}
    assert {ink: len(found) for ink, found in lines.items()} == {"first": 4, "second": 4}
    begins = sorted((points[0][0], ink) for ink, found in lines.items() for points in found)
    assert [ink for _, ink in begins] == ["first", "second", "second", "first"] * 2  # A B, B A


def test_latency_over_time_shows_the_temperature(states, say):
    _, curve = states["measured_long"]["charts"]
    ((line, _),) = drawn(curve, "line", "first")
    ((heat, _),) = drawn(curve, "dashed", "heat")
    assert len(line) >= 60 and line[-1][1] < line[0][1] - 50  # slower is higher up
    assert heat[-1][1] < heat[0][1] and heat[-1][0] == pytest.approx(line[-1][0], abs=20)
    assert [say(text) for _, text in drawn(curve, "text", "heat")] == ["Battery", "38 °C", "31 °C"]


def test_live_frames_are_drawn(states, say):
    _, chart = states["live"]["charts"]
    ((line, _),) = drawn(chart, "line", "first")
    assert len(line) == 60 and say(chart["description"]) == "26 frames a second"
    assert [say(text) for _, text in drawn(chart, "text", "quiet")] == ["30", "0"]
    assert states["classified"]["charts"] == []


def test_where_the_time_of_a_frame_goes(states, say):
    stages = states["live"]["charts"][0]
    words = ["converting the frame 1.9 ms", "preparing the picture 2.3 ms", "inference 5.1 ms"]
    assert [say(text) for _, text in drawn(stages, "text", "text")] == words
    assert say(stages["description"]) == ", ".join(words)
    assert states["live"]["details"] == ["inference p50 5.1 ms, p90 5.8 ms over 50"]
    parts = [drawn(stages, "area", ink)[0][0] for ink in ("second", "quiet", "first")]
    widths = [part[1][0] - part[0][0] for part in parts]
    assert sum(widths) == pytest.approx(1000) and widths[1] / widths[0] == pytest.approx(2.3 / 1.9)
    assert [part[0][0] for part in parts[1:]] == [part[1][0] for part in parts[:-1]]  # one after the other


def test_what_runs_the_model_is_told(states):
    assert states["ready"]["hint"] == "Runs on: CPU"
