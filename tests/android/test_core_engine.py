"""A model from manifest to classes in the app's classes, and the camera's frames."""

import numpy as np
import pytest


@pytest.fixture
def load(ask, tmp_path):
    """Load a made-up model in a made-up runtime and classify a green picture."""

    def load(model, target="executorch", **more):
        request = {"do": "engine", "folder": str(model.parent), "model": model.name, "target": target}
        return ask(request | {"into": str(tmp_path / "copies")} | more)[0]

    return load


def test_from_model_to_classes(load, make_model):
    made = load(make_model(classes=("red", "green", "blue"), shape=(1, 24, 24, 3), resize=32))
    assert made == {"labels": ["green", "red"], "is_timed": True, "num_samples": 30}


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
