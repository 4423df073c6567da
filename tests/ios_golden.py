"""The golden values of the Swift package: what calibration/ and bench_arm make of given pictures, logits and samples.

`python tests/ios_golden.py` writes them anew.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "ios_notes/Tests/EdgeViTCoreTests/golden.json"
_BITS = 22
SIZES = ((97, 61, 36, 32), (61, 119, 32, 32), (7, 5, 24, 16), (33, 33, 33, 24), (300, 41, 16, 16))


def make() -> dict:
    """Return all values as plain JSON."""
    from calibration.preprocess import Preprocess, resize_and_crop, resized_size
    from converters.artefact import softmax
    from edge_vit.devices import stats

    plans, pictures, kernels = [], [], []
    for number, (width, height, resize, side) in enumerate(SIZES):
        new_width, new_height = resized_size(width, height, resize)
        expected = [new_width, new_height, (new_width - side) // 2, (new_height - side) // 2]
        plans.append({"width": width, "height": height, "resize": resize, "side": side, "expected": expected})
        is_bicubic = number % 2 == 0
        begin = (new_width - side) // 2
        if new_width != width:
            kernels.append(kernel(width, new_width, begin, min(side, 6), is_bicubic))
    for width, height, resize, side, is_bicubic in ((13, 9, 8, 8, True), (6, 11, 7, 5, False), (5, 5, 5, 3, True)):
        rgb = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        kind = "bicubic" if is_bicubic else "bilinear"
        how = Preprocess(resolution=side, crop_pct=side / resize, interpolation=kind)
        assert how.resize == resize
        pixels = resize_and_crop(Image.fromarray(rgb), how)
        pictures.append(
            {
                "width": width,
                "height": height,
                "resize": resize,
                "side": side,
                "bicubic": is_bicubic,
                "rgb": rgb.reshape(-1).tolist(),
                "pixels": pixels.reshape(-1).tolist(),
            }
        )
    logits = [[1.5, -2.25, 0.0, 7.5], [1000.0, 1000.0, -1000.0], [0.125]]
    samples = [float(4000 + (37 * i) % 101 + i) for i in range(40)]
    return {
        "plans": plans,
        "kernels": kernels,
        "pictures": pictures,
        "softmax": [{"logits": one, "probabilities": softmax(np.asarray(one)).tolist()} for one in logits],
        "quantiles": [
            {"samples": samples[:count], "percent": percent, "expected": stats.quantile(samples[:count], percent)}
            for count, percent in ((1, 50.0), (2, 90.0), (7, 99.0), (40, 50.0), (40, 90.0))
        ],
        "drifts": [
            {
                "samples": samples[:count],
                "expected": found.relative if (found := stats.drift(samples[:count])) else None,
            }
            for count in (24, 25, 40)
        ],
    }


def kernel(size: int, out: int, begin: int, count: int, is_bicubic: bool) -> dict:
    """Return the weights of some output positions, as step 4 of calibration/preprocess.py says."""
    scale = size / out
    stretch = max(scale, 1.0)
    support = (2.0 if is_bicubic else 1.0) * stretch
    first, weights = [], []
    for i in range(begin, begin + count):
        center = (i + 0.5) * scale
        low, high = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), size)
        raw = [_filter((x - center + 0.5) * (1.0 / stretch), is_bicubic) for x in range(low, high)]
        total = sum(raw)
        first.append(low)
        weights.append([int(w / total * (1 << _BITS) + math.copysign(0.5, w / total)) for w in raw])
    given = {"from": size, "to": out, "begin": begin, "count": count, "bicubic": is_bicubic}
    return given | {"first": first, "weights": weights}


def _filter(distance: float, is_bicubic: bool) -> float:
    x, a = abs(distance), -0.5
    if not is_bicubic:
        return max(1.0 - x, 0.0)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0


if __name__ == "__main__":
    sys.path.insert(0, str(GOLDEN.parents[3]))
    GOLDEN.write_text(json.dumps(make()) + "\n")
