"""Classify pictures with an artefact: the likeliest classes of each, and a drawn picture to try it on."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyConfig:
    """What to classify, with what; `draw` is where to save a drawn picture, which is then classified too."""

    artefact: Path
    images: tuple[Path, ...] = ()
    draw: Path | None = None
    subject: str = "golf ball"
    top: int = 3
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.images and self.draw is None:
            raise ValueError("no pictures; name some, or let one be drawn with --draw FILE")
        if self.top < 1:
            raise ValueError(f"top {self.top} is not allowed; use 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One class and the share of belief it gets; shares over all classes add up to 1."""

    id: str
    name: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """One picture: its guesses, likeliest first, or why it could not be read."""

    image: str
    guesses: tuple[Guess, ...]
    error: str | None


def run(config: ClassifyConfig) -> tuple[Classified, ...]:
    """Classify every picture; one that cannot be read is reported in its place.

    Raises:
        ValueError: If the artefact cannot be opened or the drawing cannot be saved.
    """
    from converters.artefact import check_artefact, load_artefact, softmax

    manifest = check_artefact(config.artefact, config.threads)
    from calibration.preprocess import Preprocess, load_pixels

    preprocess = Preprocess(**manifest.input.preprocess_fields())
    images = config.images
    if config.draw is not None:
        check_drawing(config.subject, config.draw)
        images = (config.draw, *images)
    elif not any(path.exists() for path in images):  # said without a runtime
        return tuple(Classified(image=str(path), guesses=(), error=f"{path}: no such file") for path in images)
    artefact = load_artefact(manifest, config.artefact, config.threads)
    if config.draw is not None:
        save_drawing(config.subject, config.draw)
    classes = manifest.classes
    results = []
    for path in images:
        try:
            pixels = load_pixels(path, preprocess)
        except ValueError as e:
            results.append(Classified(image=str(path), guesses=(), error=str(e)))
            continue
        (outputs,) = artefact.run(pixels[None])
        shares = outputs if manifest.output.kind == "probabilities" else softmax(outputs)
        best = shares.argsort()[::-1][: config.top]
        guesses = tuple(Guess(id=classes[i].id, name=classes[i].name, probability=float(shares[i])) for i in best)
        results.append(Classified(image=str(path), guesses=guesses, error=None))
    return tuple(results)


def check_drawing(subject: str, path: Path) -> None:
    """Raise ValueError if there is no such subject, or no such kind of picture as the name's ending says."""
    from PIL import Image

    from edge_vit.evaluation.drawing import check_subject

    check_subject(subject)
    Image.init()
    if path.suffix.lower() not in Image.EXTENSION:
        raise ValueError(f"{path}: unknown kind of picture; end the name in .png or .jpg")


def save_drawing(subject: str, path: Path) -> None:
    """Draw and save completely or not at all.

    Raises:
        ValueError: If there is no such subject, or the picture cannot be written; what was there stays.
    """
    from edge_vit.evaluation.drawing import draw

    check_drawing(subject, path)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        draw(subject).save(temporary)
        os.replace(temporary, path)
    except OSError as e:
        raise ValueError(f"{path}: cannot be written ({e.strerror or e})") from e
    finally:
        with contextlib.suppress(OSError):  # gone once it was renamed; where nothing can be written, never there
            temporary.unlink()
