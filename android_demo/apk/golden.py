"""Golden vectors: drawn pictures, what Python makes of them, and whether the app's own classes make the same."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from calibration.preprocess import Preprocess, load_pixels
from converters.artefact import softmax, to_input
from converters.manifest import Manifest, load_for

PROBE = "edgevit.core.Probe"
ORIENTATION_TAG = 0x0112
# Name, width, height, mode, file type, EXIF orientation (0 for none). Sizes are odd, tiny, large, square, or right.
PICTURES = (
    ("rgb_odd", 97, 61, "RGB", "png", 0),
    ("rgb_tall", 61, 119, "RGB", "png", 0),
    ("rgb_large", 1203, 801, "RGB", "png", 0),
    ("rgb_tiny", 7, 5, "RGB", "png", 0),
    ("rgb_one_pixel", 1, 1, "RGB", "png", 0),
    ("rgb_square", 500, 500, "RGB", "png", 0),
    ("rgb_long", 1999, 33, "RGB", "png", 0),
    ("rgb_at_size", 224, 224, "RGB", "png", 0),
    ("rgb_height_at_size", 331, 224, "RGB", "png", 0),
    ("grey", 333, 259, "L", "png", 0),
    ("grey_alpha", 131, 203, "LA", "png", 0),
    ("alpha", 217, 145, "RGBA", "png", 0),
    ("alpha_large", 905, 1111, "RGBA", "png", 0),
    ("bilevel", 121, 99, "1", "png", 0),
    ("palette", 160, 121, "P", "png", 0),
    ("palette_transparent", 161, 120, "P+", "png", 0),
    *((f"turned_{way}", 157 + 10 * way, 203 - 6 * way, "RGB", "jpeg", way) for way in range(1, 9)),
    ("turned_png", 99, 187, "RGB", "png", 6),
    ("turned_webp", 187, 99, "RGB", "webp", 8),
    ("turned_alpha", 143, 221, "RGBA", "png", 5),
    ("turned_wrongly", 120, 77, "RGB", "jpeg", 9),
    ("jpeg_large", 1601, 1067, "RGB", "jpeg", 3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One picture: its file, its decoded pixels as they lie, and what Python makes of it."""

    name: str
    file: Path
    rgba: Path
    width: int
    height: int
    pixels: np.ndarray
    inputs: np.ndarray
    logits: Path
    top: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the app's classes made of the vectors; `failures` names every difference."""

    num_pictures: int
    failures: tuple[str, ...]
    top_classes: dict[str, str]


def draw(folder: Path, pictures: Sequence[tuple] = PICTURES) -> list[Path]:
    """Draw the pictures and return their files. They are the same on every call."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, width, height, mode, kind, orientation) in enumerate(pictures):
        image = scene(width, height, number)
        if mode in ("RGBA", "LA"):
            image.putalpha(Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width), np.uint8)))
        image = image.quantize(31) if mode.startswith("P") else image.convert(mode)
        options: dict = {"quality": 88, "subsampling": 0} if kind == "jpeg" else {}
        if kind == "webp":
            options = {"lossless": True}
        if mode == "P+":
            options["transparency"] = bytes(8 * i for i in range(31))
        if orientation:
            exif = Image.Exif()
            exif[ORIENTATION_TAG] = orientation
            options["exif"] = exif
        paths.append(folder / f"{name}.{kind}")
        image.save(paths[-1], **options)
    return paths


def scene(width: int, height: int, seed: int, noise: float = 12) -> Image.Image:
    """Return a picture with gradients, edges, discs and noise, so that every rounding is met."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)], -1)
    image = Image.fromarray((base + generator.normal(0, noise, base.shape)).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        cx, cy, radius = generator.uniform(0, [width, height, max(1.0, min(width, height) / 3)])
        colour = tuple(int(v) for v in generator.integers(0, 256, 3))
        pen.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=colour)
        pen.line((cx, cy, width - cx, height - cy), fill=colour[::-1], width=2)
    return image


def make(
    artefact: Path,
    folder: Path,
    classify: Callable[[np.ndarray], np.ndarray] | None = None,
    pictures: Sequence[tuple] = PICTURES,
) -> list[Vector]:
    """Draw the pictures and work out what the app must make of them for one model.

    Args:
        artefact: The model; its manifest lies beside it.
        folder: Where pictures and decoded pixels go.
        classify: Pixels (1, H, W, 3) to what the model gives, (1, classes); seeded random numbers by default.
        pictures: What to draw, as in PICTURES.
    """
    manifest = load_for(artefact)
    preprocess = Preprocess(**manifest.input.preprocess_fields())
    generator = np.random.default_rng(1)
    vectors = []
    for path in draw(folder, pictures):
        pixels = load_pixels(path, preprocess)
        logits = generator.normal(0, 4, len(manifest.classes)).astype(np.float32)
        if manifest.output.kind == "probabilities":
            logits = softmax(logits).astype(np.float32)
        if classify is not None:
            logits = classify(pixels[None])[0].astype(np.float32)
        with Image.open(path) as image:
            decoded = np.asarray(image.convert("RGBA"))  # as it lies: a phone's decoder does not turn pictures either
        rgba, raw = path.with_suffix(".rgba"), path.with_suffix(".logits")
        rgba.write_bytes(decoded.tobytes())
        raw.write_bytes(logits.astype("<f4").tobytes())
        vectors.append(
            Vector(
                name=path.stem,
                file=path,
                rgba=rgba,
                width=decoded.shape[1],
                height=decoded.shape[0],
                pixels=pixels,
                inputs=to_input(pixels[None], manifest.input),
                logits=raw,
                top=tuple(int(i) for i in np.argsort(-logits, kind="stable")[:3]),
            )
        )
    return vectors


def compare(java: Sequence[str], classpath: Sequence[Path], artefact: Path, vectors: Sequence[Vector]) -> Comparison:
    """Run the app's classes over the vectors and compare bit by bit.

    Args:
        java: The Java program, with options.
        classpath: Where the app's classes and the probe lie.
        artefact: The model for which the vectors were made.
        vectors: What `make` returned.
    """
    requests = [_request(artefact, vector) for vector in vectors]
    answers = ask(java, classpath, requests)
    manifest = load_for(artefact)
    failures, found = [], {}
    for vector, answer in zip(vectors, answers, strict=True):
        if "error" in answer:
            failures.append(f"{vector.name}: {answer['error']}")
            continue
        pixels = np.frombuffer(_out(vector, "pixels").read_bytes(), np.uint8)
        if wrong := int((pixels != vector.pixels.reshape(-1)).sum()):
            failures.append(f"{vector.name}: {wrong} of {pixels.size} pixel values differ")
        if _out(vector, "input").read_bytes() != vector.inputs.tobytes():
            failures.append(f"{vector.name}: model inputs differ")
        failures += [f"{vector.name}: {what}" for what in _compare_top(vector, answer["top"], manifest)]
        found[vector.name] = answer["top"][0][1]
    return Comparison(num_pictures=len(vectors), failures=tuple(failures), top_classes=found)


def _compare_top(vector: Vector, top: list, manifest: Manifest) -> list[str]:
    outputs = np.frombuffer(vector.logits.read_bytes(), "<f4")
    shares = outputs.astype(np.float64) if manifest.output.kind == "probabilities" else softmax(outputs)
    expected = [(i, manifest.classes[i].name, shares[i]) for i in vector.top]
    problems = []
    for (index, label, probability), (own, name, share) in zip(top, expected, strict=True):
        if (index, label) != (own, name):
            problems.append(f"class {index} ({label}) instead of {own} ({name})")
        elif abs(probability - share) > 1e-12:
            problems.append(f"probability {probability} instead of {share}")
    return problems


def ask(java: Sequence[str], classpath: Sequence[Path], requests: Sequence[dict]) -> list[dict]:
    """Send requests to the probe, which drives the app's classes, and return its answers.

    Raises:
        ValueError: If the probe fails as a whole.
    """
    command = [*java, "-cp", ":".join(map(str, classpath)), PROBE]
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=600)
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    if done.returncode or len(answers) != len(requests):
        said = done.stderr.decode().strip()
        count = f"{len(answers)} of {len(requests)}"
        raise ValueError(f"the app's classes failed on the JVM after {count} requests: {said}")
    return answers


def _request(artefact: Path, vector: Vector) -> dict:
    return {
        "do": "classify",
        "folder": str(artefact.parent),
        "model": artefact.name,
        "file": str(vector.file),
        "rgba": str(vector.rgba),
        "width": vector.width,
        "height": vector.height,
        "logits": str(vector.logits),
        "pixels_to": str(_out(vector, "pixels")),
        "input_to": str(_out(vector, "input")),
    }


def _out(vector: Vector, what: str) -> Path:
    return vector.file.with_suffix(f".{what}")
