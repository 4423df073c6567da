"""A model from manifest to classes in the app's classes, and the camera's frames."""

import dataclasses

import numpy as np
import pytest

from converters import manifest as manifests


@pytest.fixture
def load(ask, tmp_path):
    """Load a made-up model in a made-up runtime and classify a green picture."""

    def load(model, target="executorch", **more):
        request = {"do": "engine", "folder": str(model.parent), "model": model.name, "target": target}
        return ask(request | {"into": str(tmp_path / "copies")} | more)[0]

    return load


def test_from_model_to_classes(load, make_model):
    made = load(make_model(classes=("red", "green", "blue"), shape=(1, 24, 24, 3), resize=32))
    assert made == {
        "labels": ["green", "red"], "loaded": ["demo_int8.pte"], "is_timed": True, "num_samples": 30
    }  # fmt: skip


def test_a_model_for_another_runtime_is_not_loaded(load, make_model):
    message = "demo_int8.pte was made for executorch; Test runtime runs tflite files"
    assert load(make_model(), target="tflite") == {"error": message}


def test_a_failing_runtime_is_told(load, make_model):
    assert load(make_model(), is_broken=True) == {"error": "the runtime failed"}


@pytest.mark.parametrize("pixel_stride, padding", [(1, 0), (2, 0), (2, 13), (1, 5)])
def test_camera_frames_follow_jfif(pixel_stride, padding, ask, tmp_path):
    width, height = 46, 34
    generator = np.random.default_rng(2)
    planes = [generator.integers(0, 256, (height, width), np.uint8)]
    planes += [generator.integers(0, 256, (height // 2, width // 2), np.uint8) for _ in range(2)]
    request = {"do": "yuv", "width": width, "height": height, "pixel_stride": pixel_stride}
    request["to"] = str(tmp_path / "rgba")
    for i, plane in enumerate(planes):
        step = pixel_stride if i else 1
        stride = plane.shape[1] * step + padding
        rows = np.zeros((plane.shape[0], stride), np.uint8)
        rows[:, : plane.shape[1] * step : step] = plane
        # Android's planes end with their last sample, not with the padding behind it.
        data = rows.tobytes()[: (plane.shape[0] - 1) * stride + (plane.shape[1] - 1) * step + 1]
        (tmp_path / f"plane{i}").write_bytes(data)
        request |= {f"plane{i}": str(tmp_path / f"plane{i}"), f"row_stride{i}": stride}
    assert ask(request) == [{"is_done": True, "is_timed": True}]
    found = np.frombuffer((tmp_path / "rgba").read_bytes(), np.uint8).reshape(height, width, 4)
    y = planes[0].astype(float)
    u, v = (np.repeat(np.repeat(p.astype(float) - 128, 2, 0), 2, 1) for p in planes[1:])
    exact = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], -1).clip(0, 255)
    assert np.abs(found[..., :3] - exact).max() <= 0.51
    assert (found[..., 3] == 255).all()


@pytest.mark.parametrize(
    "sensor, display, is_front, expected",
    [
        (90, 0, False, 6),
        (90, 90, False, 1),
        (90, 180, False, 8),
        (90, 270, False, 3),
        (270, 0, True, 8),
        (270, 90, True, 1),
    ],
)
def test_frames_are_turned_upright(sensor, display, is_front, expected, ask):
    request = {"do": "turn", "sensor": sensor, "display": display, "is_front": is_front}
    assert ask(request) == [{"orientation": expected}]


@pytest.fixture
def for_chips(make_model):
    """A model with a file for one chip, where the app keeps it: in a folder of its own."""
    model = make_model("a.tflite", classes=("red", "green", "blue"), shape=(1, 24, 24, 3), changes={"target": "tflite"})
    path = model.parent / "npu" / "a_sm8750.tflite"
    path.parent.mkdir()
    path.write_bytes(b"compiled")
    entry = manifests.NpuFile(
        chip="SM8750", vendor="Qualcomm", file=manifests.describe_file(path), offloaded=1, total=1, partitions=1
    )
    manifests.save(dataclasses.replace(manifests.load_for(model), npu_files=(entry,)), model)
    return model


@pytest.mark.parametrize(
    ("chip", "more", "loaded"),
    [
        ("SM8750", {}, ["a_sm8750.tflite"]),
        ("sm-8750", {}, ["a_sm8750.tflite"]),
        ("SM8650", {}, ["a.tflite"]),
        ("", {}, ["a.tflite"]),
        ("SM8750", {"refuses": "a_sm8750.tflite"}, ["a_sm8750.tflite", "a.tflite"]),
    ],
)
def test_the_file_for_this_chip_is_loaded_and_the_portable_one_else(chip, more, loaded, load, for_chips):
    made = load(for_chips, target="tflite", chip=chip, **more)
    assert made["loaded"] == loaded and made["labels"] == ["green", "red"]


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"damaged.")])
def test_a_compiled_file_that_is_gone_or_damaged_gives_way(change, load, for_chips):
    change(for_chips.parent / "npu" / "a_sm8750.tflite")
    assert load(for_chips, target="tflite", chip="SM8750")["loaded"] == ["a.tflite"]
