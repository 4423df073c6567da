"""Run an artefact and its float model over labelled pictures and compare them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from calibration.dataset import Batch, ImageSet, SkippedImage
    from converters.manifest import ClassLabel, Manifest, NetworkInfo
    from edge_vit.evaluation.paired import PairedResult, PairedSums, Verdict
    from edge_vit.models.own import OwnNetwork
    from edge_vit.models.sources import WeightsSource

BATCH_SIZE = 32
_CONVERT_AGAIN = "convert again, or give a float artefact with --float"
Run = Callable[["np.ndarray"], "np.ndarray"]  # pixels (B, H, W, 3), uint8 -> (B, classes)
Watch = Callable[["Batch", "np.ndarray", "np.ndarray"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyConfig:
    """What to compare, on what, and how strictly."""

    artefact: Path
    data: Path
    max_drop: float | None = None
    limit: int | None = None
    float_artefact: Path | None = None
    threads: int = 2
    runtime: str = ""


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
    """What was measured; `verdict` is null without a limit, `skipped` names pictures that could not be read.

    `compared` says of what decibels and margins are: logits, or probabilities where one of the two gives these.
    """

    artefact: str
    reference: str
    data: str
    overall: "PairedResult"
    classes: tuple[ClassResult, ...]
    skipped: "tuple[SkippedImage, ...]"
    verdict: "Verdict | None"
    compared: Literal["logits", "probabilities"] = "logits"


def run(config: AccuracyConfig, progress: Callable[[int, int], None] = lambda done, total: None) -> AccuracyResult:
    """Run both models over the pictures and compare them.

    Args:
        config: What to compare.
        progress: Called with pictures done and in all.

    Raises:
        ValueError: If the artefact, the data or their classes do not fit; the message says which.
    """
    return compare(prepare(config), progress)


def compare(
    ready: "Prepared",
    progress: Callable[[int, int], None] = lambda done, total: None,
    watch: Watch = lambda batch, reference, artefact: None,
) -> AccuracyResult:
    """Run both models of a comparison that was prepared.

    Args:
        progress: Called with pictures done and in all.
        watch: Called with each batch and the probabilities that the float model and the artefact gave for it.

    Raises:
        ValueError: If a runtime does not take its file, or no picture can be read.
    """
    import numpy as np

    from calibration.dataset import BatchLoader
    from calibration.preprocess import Preprocess
    from converters.artefact import load_artefact, softmax
    from edge_vit.evaluation.paired import PairedSums, judge

    config, manifest, compared = ready.config, ready.manifest, ready.compared
    artefact = _as_compared(
        load_artefact(manifest, config.artefact, config.threads, config.runtime).run, manifest.output.kind, compared
    )
    reference = _as_compared(ready.load_reference(), ready.reference_kind, compared)
    loader = BatchLoader(
        ready.images, Preprocess(**manifest.input.preprocess_fields()), batch_size=BATCH_SIZE, threads=config.threads
    )
    to_shares = softmax if compared == "logits" else np.asarray
    sums, done = PairedSums(len(manifest.classes)), 0
    for batch in loader:
        given = reference(batch.pixels), artefact(batch.pixels)
        sums.add(*given, batch.labels)
        watch(batch, *(to_shares(outputs) for outputs in given))
        done += len(batch.labels)
        progress(done + len(loader.skipped), len(ready.images))
    overall = sums.result()
    return AccuracyResult(
        artefact=config.artefact.name,
        reference=ready.reference_name,
        data=str(config.data),
        overall=overall,
        classes=_by_class(sums, manifest.classes),
        skipped=tuple(loader.skipped),
        verdict=None if config.max_drop is None else judge(overall, config.max_drop),
        compared=compared,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is known before the first runtime loads; `reference_kind` as `OutputInfo.kind`."""

    config: AccuracyConfig
    manifest: "Manifest"
    images: "ImageSet"
    load_reference: Callable[[], Run]
    reference_name: str
    reference_kind: str

    @property
    def compared(self) -> Literal["logits", "probabilities"]:
        return "probabilities" if "probabilities" in (self.manifest.output.kind, self.reference_kind) else "logits"


def prepare(config: AccuracyConfig) -> Prepared:
    """Find pictures and weights of a comparison, without loading a runtime.

    Raises:
        ValueError: If the artefact, the data or their classes do not fit; the message says which.
    """
    from calibration.dataset import choose, match_classes, read_class_names
    from calibration.lists import list_labelled
    from calibration.paths import is_list
    from converters.artefact import check_artefact, check_runtime
    from edge_vit.evaluation.paired import check_max_drop

    if config.max_drop is not None:
        check_max_drop(config.max_drop)
    manifest = check_artefact(config.artefact, config.threads)
    check_runtime(config.runtime, config.artefact)
    images = list_labelled(config.data, split="val")
    folder = config.data.parent if is_list(config.data) else config.data
    indices = match_classes(images.folders, manifest.classes, read_class_names(folder))
    images = choose(images.relabel(indices), config.limit)
    load, name, kind = _find_reference(manifest, config.artefact, config.float_artefact, config.threads)
    return Prepared(
        config=config,
        manifest=manifest,
        images=images,
        load_reference=load,
        reference_name=name,
        reference_kind=kind,
    )


def find_reference(manifest: "Manifest", folder: Path) -> "WeightsSource":
    """Return the float weights that an artefact was made from.

    Args:
        folder: Where artefact and manifest lie.

    Raises:
        ValueError: If the weights are gone or are not the same file any more.
    """
    from edge_vit.models.sources import WeightsSource, recorded_weights

    if manifest.network is not None and manifest.weights.source == manifest.network.source:
        return WeightsSource(label=manifest.weights.source, form="training", digest=manifest.weights.sha256)
    source = recorded_weights(manifest.weights.source, folder)
    if manifest.weights.sha256 not in (None, source.sha256):
        raise ValueError(f"{source.path} is not the file that was converted (sha256 differs); convert again")
    if source.form == "int8":
        hint = "give a float artefact with --float"
        raise ValueError(f"{source.path} is quantized and its float checkpoint is gone; {hint}")
    return source


def load_reference(manifest: "Manifest", source: "WeightsSource") -> Callable[["np.ndarray"], "np.ndarray"]:
    """Rebuild the float model of an artefact from its weights.

    Returns:
        A callable from pixels (B, H, W, 3), uint8, to logits (B, classes), float32.

    Raises:
        ValueError: If they do not fit the variant.
    """
    import torch

    from calibration.preprocess import Preprocess, normalise
    from edge_vit.layers.own_pixels import logits_of
    from edge_vit.models.rectangles import load_model
    from edge_vit.models.weights import WithoutRandomValues

    preprocess = Preprocess(**manifest.input.preprocess_fields())
    if manifest.network is not None:
        model = _own_network(manifest, manifest.network, source)
    else:
        assert source.checkpoint is not None
        with WithoutRandomValues():
            model, _ = load_model(manifest.model, source.checkpoint, len(manifest.classes), preprocess.resolution)
    model.eval()

    def call(images: "np.ndarray") -> "np.ndarray":
        with torch.inference_mode():
            return logits_of(model(torch.from_numpy(normalise(images, preprocess)))).numpy()

    return call


def _own_network(manifest: "Manifest", info: "NetworkInfo", source: "WeightsSource") -> "nn.Module":
    """Call the user's function again.

    Raises:
        ValueError: If its file changed, or it gives other weights than those that were converted.
    """
    from edge_vit.models.own import load_network

    own = recorded_network(manifest, info)
    classes = [{"id": label.id, "name": label.name} for label in manifest.classes]
    network = load_network(own, source, classes)
    if source.checkpoint is None and network.sha256 != manifest.weights.sha256:
        raise ValueError(f"{info.source} gives other weights than those that were converted; {_CONVERT_AGAIN}")
    return network.module


def recorded_network(manifest: "Manifest", info: "NetworkInfo") -> "OwnNetwork":
    """Return the network of the user's own that an artefact was made from.

    Raises:
        ValueError: If its function is gone, or its file changed.
    """
    from edge_vit.models.own import find_network

    size = (manifest.input.height, manifest.input.width)
    own = find_network(info.source, size, mean=manifest.input.mean, std=manifest.input.std)
    if own is None:
        raise ValueError(f"{info.source} names no function any more; {_CONVERT_AGAIN}")
    if info.sha256 not in (None, own.sha256):
        raise ValueError(f"{info.source} is not what was converted (sha256 of its file differs); {_CONVERT_AGAIN}")
    return own


def _find_reference(
    manifest: "Manifest", artefact: Path, float_artefact: Path | None, threads: int
) -> tuple[Callable[[], Run], str, str]:
    """Return how to load what the artefact is compared with, its name, and what it gives, as `OutputInfo.kind`."""
    from converters.artefact import check_artefact, load_artefact

    if float_artefact is None:
        source = find_reference(manifest, artefact.parent)
        return lambda: load_reference(manifest, source), manifest.weights.source, "logits"
    other = check_artefact(float_artefact, threads)
    if other.precision != "fp32":
        raise ValueError(f"{float_artefact}: is {other.precision}, not a float (fp32) artefact")
    if other.classes != manifest.classes:
        raise ValueError(f"{float_artefact}: has other classes than {artefact}")
    if other.input.preprocess_fields() != manifest.input.preprocess_fields():
        raise ValueError(f"{float_artefact}: prepares pictures otherwise than {artefact}")
    return lambda: load_artefact(other, float_artefact, threads).run, float_artefact.name, other.output.kind


def _as_compared(run: Run, kind: str, compared: str) -> Run:
    """Return `run`, which gives `kind`, so that it gives what is compared."""
    from converters.artefact import softmax

    return run if kind == compared else lambda pixels: softmax(run(pixels))


def _by_class(sums: "PairedSums", classes: "tuple[ClassLabel, ...]") -> tuple[ClassResult, ...]:
    return tuple(
        ClassResult(
            id=classes[i].id,
            name=classes[i].name,
            num_images=count,
            float_top1=100.0 * int(sums.float_right[i]) / count,
            artefact_top1=100.0 * int(sums.right[i]) / count,
            losses=int(sums.losses[i]),
            gains=int(sums.gains[i]),
        )
        for i, count in enumerate(sums.images.tolist())
        if count
    )
