"""Show what an artefact sees in pictures: the most likely classes, with bars. --draw makes a picture to try it on."""

import argparse
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from edge_vit.console.answer import Answer

BAR_WIDTH = 30


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


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m edge_vit.classify", description=__doc__)
    parser.add_argument("artefact", type=Path, metavar="ARTEFACT", help="converted file, its .json manifest beside it")
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE", help="pictures to classify")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw a picture, save it as FILE and classify it")
    parser.add_argument("--subject", default="golf ball", help="golf ball (default) or parachute: what to draw")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes to show (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    return parser


def run(config: ClassifyConfig) -> tuple[Classified, ...]:
    """Classify every picture; one that cannot be read is reported in its place.

    Raises:
        ValueError: If the artefact cannot be opened or the drawing cannot be saved.
    """
    from calibration.preprocess import Preprocess, load_pixels
    from converters.artefact import open_artefact

    artefact = open_artefact(config.artefact, config.threads)
    classes = artefact.manifest.classes
    preprocess = Preprocess(**artefact.manifest.input.preprocess_fields())
    images = config.images
    if config.draw is not None:
        _save_drawing(config.subject, config.draw)
        images = (config.draw, *images)
    results = []
    for path in images:
        try:
            pixels = load_pixels(path, preprocess)
        except ValueError as e:
            results.append(Classified(image=str(path), guesses=(), error=str(e)))
            continue
        shares = softmax(artefact.run(pixels[None])[0])
        best = shares.argsort()[::-1][: config.top]
        guesses = tuple(Guess(id=classes[i].id, name=classes[i].name, probability=float(shares[i])) for i in best)
        results.append(Classified(image=str(path), guesses=guesses, error=None))
    return tuple(results)


def softmax(logits: "np.ndarray") -> "np.ndarray":
    """Turn logits, (..., classes), into shares that add up to 1; float64."""
    import numpy as np

    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 when a picture could not be read, 2 for misuse."""
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted="interrupted")


def _answer(argv: list[str] | None) -> "Answer":
    from edge_vit.console.answer import Answer

    # Intermixed: pictures may also follow an option, as in `ARTEFACT --draw a.png b.png`.
    arguments = vars(build_parser().parse_intermixed_args(argv))
    as_json = arguments.pop("json")
    results = run(ClassifyConfig(**arguments | {"images": tuple(arguments["images"])}))
    shown = ["\n".join(_lines(result)) for result in results if result.error is None]
    text = json.dumps([dataclasses.asdict(r) for r in results], indent=2) if as_json else "\n\n".join(shown)
    errors = tuple(f"error: {result.error}" for result in results if result.error is not None)
    return Answer(text=text, code=1 if errors else 0, remarks=errors)


def bar(share: float, *, is_plain: bool) -> str:
    """Return a bar of up to BAR_WIDTH characters, in eighths of one where the terminal has the signs."""
    if is_plain:
        return "#" * round(share * BAR_WIDTH)
    eighths = round(share * BAR_WIDTH * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _lines(result: Classified) -> list[str]:
    try:
        "█▏▉".encode(sys.stdout.encoding or "ascii")
        is_plain = False
    except UnicodeEncodeError:
        is_plain = True
    width = max(len(guess.name) for guess in result.guesses)
    lines = [result.image]
    for guess in result.guesses:
        drawn = bar(guess.probability, is_plain=is_plain)
        lines.append(f"  {guess.name:<{width}}  {100 * guess.probability:5.1f}%  {drawn}".rstrip())
    return lines


def _save_drawing(subject: str, path: Path) -> None:
    """Draw and save completely or not at all."""
    from PIL import Image

    from edge_vit.evaluation.drawing import draw

    Image.init()
    if path.suffix.lower() not in Image.EXTENSION:
        raise ValueError(f"{path}: unknown kind of picture; end the name in .png or .jpg")
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        draw(subject).save(temporary)
        os.replace(temporary, path)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        raise ValueError(f"{path}: cannot be written ({e.strerror or e})") from e


if __name__ == "__main__":
    raise SystemExit(main())
