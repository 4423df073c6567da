"""Compare an artefact with its float model on real pictures, and fail when it lost too much.

Both see the same pictures. With --max-drop the exit code is 0 only when the measured drop is within the limit and the
pictures rule out, with 95% confidence, a drop of twice the limit; it is 1 when the drop is larger or when there are too
few pictures to tell, and then the number needed is printed.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from calibration.dataset import SkippedImage
    from converters.manifest import ClassLabel, Manifest
    from edge_vit.evaluation.paired import PairedResult, Verdict

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyConfig:
    """What to compare, on what, and how strictly."""

    artefact: Path
    data: Path
    max_drop: float | None = None
    limit: int | None = None
    float_artefact: Path | None = None
    threads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class; top-1 in percent."""

    id: str
    name: str
    num_images: int
    float_top1: float
    artefact_top1: float
    losses: int
    gains: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyResult:
    """What was measured; `verdict` is null without a limit, `skipped` names pictures that could not be read."""

    artefact: str
    reference: str
    data: str
    overall: "PairedResult"
    classes: tuple[ClassResult, ...]
    skipped: "tuple[SkippedImage, ...]"
    verdict: "Verdict | None"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artefact", type=Path, metavar="ARTEFACT", help="converted file, its .json manifest beside it")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with one sub-folder a class")
    parser.add_argument("--max-drop", type=float, metavar="POINTS", help="largest drop of top-1 that passes")
    parser.add_argument("--limit", type=int, metavar="N", help="use N pictures, balanced over the classes")
    parser.add_argument(
        "--float", type=Path, metavar="ARTEFACT", dest="float_artefact",
        help="compare with this float artefact; default: the torch model from the manifest's weights",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with a table by class")
    return parser


def run(config: AccuracyConfig, progress: Callable[[int, int], None] = lambda done, total: None) -> AccuracyResult:
    """Run both models over the pictures and compare them.

    Args:
        config: What to compare.
        progress: Called with pictures done and in all.

    Raises:
        ValueError: If the artefact, the data or their classes do not fit; the message says which.
    """
    import numpy as np

    from calibration.dataset import BatchLoader, choose, list_class_folders, match_classes, read_class_names
    from calibration.preprocess import Preprocess
    from converters.artefact import open_artefact
    from edge_vit.evaluation.paired import check_max_drop, compare, judge

    if config.max_drop is not None:
        check_max_drop(config.max_drop)
    artefact = open_artefact(config.artefact, config.threads)
    manifest = artefact.manifest
    images = list_class_folders(config.data)
    indices = match_classes(images.folders, manifest.classes, read_class_names(config.data))
    images = choose(images.relabel(indices), config.limit)
    reference, reference_name = _reference(config, manifest)
    loader = BatchLoader(
        images, Preprocess(**manifest.input.preprocess_fields()), batch_size=BATCH_SIZE, threads=config.threads
    )
    float_parts, parts, label_parts = [], [], []
    for batch in loader:
        float_parts.append(reference(batch.pixels))
        parts.append(artefact.run(batch.pixels))
        label_parts.append(batch.labels)
        progress(sum(map(len, label_parts)) + len(loader.skipped), len(images))
    float_logits, logits, labels = (np.concatenate(p) for p in (float_parts, parts, label_parts))
    overall = compare(float_logits, logits, labels)
    return AccuracyResult(
        artefact=config.artefact.name,
        reference=reference_name,
        data=str(config.data),
        overall=overall,
        classes=_by_class(float_logits, logits, labels, manifest.classes),
        skipped=tuple(loader.skipped),
        verdict=None if config.max_drop is None else judge(overall, config.max_drop),
    )


def load_float_reference(manifest: "Manifest") -> Callable[["np.ndarray"], "np.ndarray"]:
    """Rebuild the float model of an artefact from the weights that its manifest names.

    Returns:
        A callable from pixels (B, H, W, 3), uint8, to logits (B, classes), float32.

    Raises:
        ValueError: If the weights are gone or are not the same file any more.
    """
    import torch

    from calibration.preprocess import Preprocess, normalise
    from converters.checksum import sha256_file
    from edge_vit.models import create_model, load_weights
    from edge_vit.models.checkpoint_io import read_checkpoint
    from edge_vit.models.sources import resolve_label

    source = resolve_label(manifest.weights.source)
    if not source.is_file():
        label = manifest.weights.source
        raise ValueError(f"the float weights {label} are not here; give a float artefact with --float")
    if manifest.weights.sha256 not in (None, sha256_file(source)):
        raise ValueError(f"{source} is not the file that was converted (sha256 differs); convert again")
    if read_checkpoint(source)[1].get("form") == "int8":
        raise ValueError(f"{source} is quantized and its float checkpoint is gone; give a float artefact with --float")
    model = create_model(manifest.model, num_classes=len(manifest.classes), resolution=manifest.input.height)
    load_weights(model, source)
    model.eval()
    preprocess = Preprocess(**manifest.input.preprocess_fields())

    def call(images: "np.ndarray") -> "np.ndarray":
        with torch.inference_mode():
            return model(torch.from_numpy(normalise(images, preprocess))).numpy()

    return call


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 when the gate fails, 2 for misuse."""
    arguments = vars(build_parser().parse_args(argv))
    as_json = arguments.pop("json")
    try:
        result = run(AccuracyConfig(**arguments), _Progress())
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    from calibration.dataset import skipped_lines

    for line in skipped_lines(result.skipped):
        print(line, file=sys.stderr)
    print(_to_json(result) if as_json else "\n".join(_report(result)))
    return 0 if result.verdict is None or result.verdict.outcome == "pass" else 1


def _reference(config: AccuracyConfig, manifest: "Manifest") -> tuple[Callable[["np.ndarray"], "np.ndarray"], str]:
    from converters.artefact import open_artefact

    if config.float_artefact is None:
        return load_float_reference(manifest), manifest.weights.source
    other = open_artefact(config.float_artefact, config.threads)
    if other.manifest.precision != "fp32":
        raise ValueError(f"{config.float_artefact}: is {other.manifest.precision}, not a float (fp32) artefact")
    if other.manifest.classes != manifest.classes:
        raise ValueError(f"{config.float_artefact}: has other classes than {config.artefact}")
    if other.manifest.input.preprocess_fields() != manifest.input.preprocess_fields():
        raise ValueError(f"{config.float_artefact}: prepares pictures otherwise than {config.artefact}")
    return other.run, config.float_artefact.name


def _by_class(
    float_logits: "np.ndarray", logits: "np.ndarray", labels: "np.ndarray", classes: "tuple[ClassLabel, ...]"
) -> tuple[ClassResult, ...]:
    float_right, right = float_logits.argmax(1) == labels, logits.argmax(1) == labels
    results = []
    for index in sorted({int(label) for label in labels}):
        here = labels == index
        results.append(
            ClassResult(
                id=classes[index].id,
                name=classes[index].name,
                num_images=int(here.sum()),
                float_top1=100.0 * float(float_right[here].mean()),
                artefact_top1=100.0 * float(right[here].mean()),
                losses=int((here & float_right & ~right).sum()),
                gains=int((here & right & ~float_right).sum()),
            )
        )
    return tuple(results)


def _report(result: AccuracyResult) -> list[str]:
    overall = result.overall
    low, high = overall.interval_points
    lines = [
        f"{result.artefact} against {result.reference} on {overall.num_images} pictures",
        f"  top-1      {overall.artefact_top1:.2f}%, float {overall.float_top1:.2f}%",
        f"  drop       {overall.drop_points:.2f} points, 95% interval {low:.2f} to {high:.2f} "
        f"({overall.losses} lost, {overall.gains} won, McNemar p = {overall.mcnemar_p:.2g})",
        f"  agreement  {100 * overall.agreement:.2f}% same top-1",
        f"  logits     {overall.sqnr_db:.1f} dB over quantization noise; margin of the true class "
        f"{overall.float_margin:.2f} in float, {overall.margin_change:+.3f} here",
    ]
    return lines + ([f"{result.verdict.outcome}: {result.verdict.message}"] if result.verdict else [])


def _to_json(result: AccuracyResult) -> str:
    """Write the result; equal logits have no noise, which JSON can only hold as MAX_SQNR_DB."""
    from converters.manifest import MAX_SQNR_DB

    plain = dataclasses.asdict(result)
    plain["overall"]["sqnr_db"] = max(-MAX_SQNR_DB, min(MAX_SQNR_DB, result.overall.sqnr_db))
    return json.dumps(plain, indent=2, allow_nan=False, default=str)


class _Progress:
    """A line on stderr that renews itself in a terminal; elsewhere one line every ten seconds."""

    def __init__(self) -> None:
        self.start = self.shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        is_terminal = sys.stderr.isatty()
        if now - self.shown < (0.2 if is_terminal else 10.0) and not (is_terminal and done == total):
            return
        self.shown = now
        rate = done / max(now - self.start, 1e-9)
        line = f"{done}/{total} pictures, {rate:.0f} a second, {(total - done) / max(rate, 1e-9):.0f} s left"
        end = "\n" if done == total or not is_terminal else ""
        print(("\r\033[K" if is_terminal else "") + line, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
