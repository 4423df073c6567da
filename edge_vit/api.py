"""What the commands do, from Python. Importing this loads neither torch nor a runtime.

made = api.fine_tune("levit_128s", "PICTURES", "imagenet")              # float, on your own classes
made = api.train_int8("levit_128s", "PICTURES", made.checkpoint)        # and again, to survive int8
model = api.load("levit_128s", quantized=True)       # float, in its deploy form, with the embedded integers
int8 = api.quantize(model)                           # the graph that every converter lowers
api.export(ConvertConfig(model="levit_128s", target="tflite", precision="int8"))
api.evaluate(AccuracyConfig(artefact=Path("artifacts/levit_128s_int8.tflite"), data=Path("DIR/val")))
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_vit.deployment import make, written
from edge_vit.deployment import sensitivity as layers
from edge_vit.deployment.request import ConvertConfig, ConvertedSet
from edge_vit.deployment.sensitivity import SensitivityConfig, SensitivityResult
from edge_vit.deployment.written import ArtefactResult
from edge_vit.evaluation import classification, comparison
from edge_vit.evaluation.classification import Classified, ClassifyConfig
from edge_vit.evaluation.comparison import AccuracyConfig, AccuracyResult
from edge_vit.findings.request import ReportRequest, ReportResult
from edge_vit.training.config import FINE_TUNING_RECIPE, FLOAT_RECIPE, QAT_RECIPE, Recipe, TrainConfig, TrainResult

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from edge_vit.findings.serve import Server
    from edge_vit.quantization.pipeline import CalibrationMethod, FloatModel, QuantizedModel

__all__ = [
    "AccuracyConfig", "ClassifyConfig", "ConvertConfig", "Recipe", "ReportRequest", "SensitivityConfig", "TrainConfig",
    "classify", "create", "distil", "evaluate", "export", "fidelity", "fine_tune", "load", "quantize", "report",
    "sensitivity", "serve", "train", "train_int8",
]  # fmt: skip


def create(name: str, num_classes: int = 1000, resolution: "int | tuple[int, int] | None" = None) -> "nn.Module":
    """Create a variant in its training form with initial weights.

    In eval mode it maps images (B, 3, R, R), float32, normalised, to logits (B, num_classes).

    Args:
        resolution: Side of the images in pixels, or height and width; None for the variant's own.

    Raises:
        ValueError: If the name is unknown, or the variant does not allow the resolution.
    """
    from edge_vit.models import create_model

    return create_model(name, num_classes, resolution)


def load(
    name: str,
    weights: str = "auto",
    resolution: "int | tuple[int, int] | None" = None,
    *,
    quantized: bool = False,
    raw: bool = False,
) -> "FloatModel":
    """Load a variant in its deploy form: from pixels (B, H, W, 3), float, 0 to 255, to logits (B, classes).

    Args:
        weights: "auto" (embedded, else published), "embedded", "imagenet" (published), "random", "hf:ORG/NAME" with
            "@REVISION" or ":FILE" where wanted, or the path of a checkpoint or of a Hugging Face folder.
        resolution: Side of the pictures in pixels, or height and width; None for what the weights were made for.
        quantized: With "auto" or "embedded", take the checkpoint that carries int8 weights and ranges, for `quantize`.
        raw: Of a file that holds raw and averaged weights, take the raw ones.

    Raises:
        ValueError: If there are no such weights, or they do not fit the variant or the resolution.
        ImportError: If a repository is named and huggingface_hub is not installed.
    """
    from edge_vit.models.sources import find_weights
    from edge_vit.quantization.pipeline import build_float

    return build_float(name, find_weights(name, weights, prefer_quantized=quantized, takes_raw=raw), resolution)


def train(request: TrainConfig) -> TrainResult:
    """Train as the command `train` does; top-1 in percent.

    It resumes where an earlier run in the same folder stopped, and writes progress to stderr.

    Raises:
        ValueError: If a setting, the data, a checkpoint or the folder does not fit; the message says which.
        ImportError: If a package is missing; the message names the extra.
        RuntimeError: If the loss is not finite, a file cannot be written, or a picture is gone.
    """
    from edge_vit.training import run

    return run.run(request)


def fine_tune(
    name: str, data: "str | Path", weights: str = "imagenet", recipe: Recipe = FINE_TUNING_RECIPE, **options: Any
) -> TrainResult:
    """Train a variant on other classes, from weights that know pictures already; raises as `train`.

    Args:
        data: Folder with train/ and val/, or with one sub-folder a class, or a .csv or .jsonl list.
        weights: "imagenet" (published), "embedded", "hf:ORG/NAME", or a checkpoint's path.
        options: Other fields of `TrainConfig`, such as output_dir, select_share or teacher.
    """
    return train(TrainConfig(model=name, data=Path(data), weights=weights, recipe=recipe, **options))


def distil(name: str, data: "str | Path", teacher: str, recipe: Recipe = FLOAT_RECIPE, **options: Any) -> TrainResult:
    """Train a variant to answer as a teacher does; raises as `train`.

    Args:
        data: As for `fine_tune`; the teacher must know its classes, and may know more.
        teacher: A checkpoint of this project, a converted file, a .pt2 program, or package.module:function.
        options: Other fields of `TrainConfig`, such as weights, temperature or distill_weight.
    """
    return train(TrainConfig(model=name, data=Path(data), teacher=teacher, recipe=recipe, **options))


def train_int8(name: str, data: "str | Path", weights: str, recipe: Recipe = QAT_RECIPE, **options: Any) -> TrainResult:
    """Train a float checkpoint to survive int8, quantization-aware; raises as `train`.

    Args:
        data: What the float checkpoint was trained on.
        options: Other fields of `TrainConfig`.
    """
    return train(TrainConfig(model=name, data=Path(data), weights=weights, recipe=recipe, qat=True, **options))


def quantize(
    model: "FloatModel | nn.Module",
    pixels: "np.ndarray | None" = None,
    method: "CalibrationMethod" = "corrected",
    *,
    mean: "tuple[float, float, float] | None" = None,
    std: "tuple[float, float, float] | None" = None,
) -> "QuantizedModel":
    """Make the int8 graph of a model, which takes pixels (1, R, R, 3), float, 0 to 255.

    Args:
        model: As `load` gives it, or a classifier of your own in eval mode, from normalised images (B, 3, R, R) to
            logits.
        pixels: Pictures to choose ranges from, (N, R, R, 3), uint8; None where the weights carry ranges.
        method: How ranges are chosen: "mse", "percentile", "min_max", "entropy"; "corrected" is "mse" with biases
            that take up what int8 shifts, "best" goes by the logits.
        mean, std: Of a network of your own, what its images are normalised with; None for ImageNet's.

    Raises:
        ValueError: If ranges are neither stored nor can be chosen, or the network cannot be exported.
    """
    from torch import nn

    from edge_vit.quantization.own_float import from_module
    from edge_vit.quantization.pipeline import build_quantized, pixel_batches

    if isinstance(model, nn.Module):
        if pixels is None:
            raise ValueError("a network of your own carries no ranges; give pixels, uint8 (N, H, W, 3)")
        model = from_module(model, (pixels.shape[1], pixels.shape[2]), mean, std)
    return build_quantized(model, None if pixels is None else pixel_batches(pixels), method)


def export(request: ConvertConfig, say: Callable[[str], None] = lambda line: None) -> ConvertedSet:
    """Convert a variant to the files that are asked for, each verified, each with its manifest; all appear or none.

    Args:
        say: Called with progress, line by line.

    Raises:
        ValueError: If model, weights, data or folder do not fit; the message says what to do.
        ImportError: If a target's package is missing; the message names the extra.
        RuntimeError: If a written file does not compute what it should.
    """
    return make.run(request, say)


def evaluate(
    request: AccuracyConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> AccuracyResult:
    """Run an artefact and its float model over labelled pictures; compare top-1 in percent, drops in points.

    Args:
        progress: Called with pictures done and in all.

    Raises:
        ValueError: If the artefact, the data or their classes do not fit; the message says which.
        ImportError: If the artefact's runtime is missing; the message names the extra.
    """
    return comparison.run(request, progress)


def sensitivity(request: SensitivityConfig, say: Callable[[str], None] = lambda line: None) -> SensitivityResult:
    """Measure on pictures what int8 costs in each layer of a variant, the layer that costs most first.

    Args:
        say: Called with progress, line by line.

    Raises:
        ValueError: If model, weights or pictures do not fit; the message says what to do.
    """
    return layers.run(request, say)


def fidelity(request: SensitivityConfig, say: Callable[[str], None] = lambda line: None) -> ArtefactResult:
    """Run a written int8 file, `request.artefact`, and compare every operator's value with its graph's.

    Args:
        say: Called with progress, line by line.

    Raises:
        ValueError: If file, manifest, weights or pictures do not fit; the message says what to do.
        ImportError: If the file's runtime is missing; the message names the extra.
    """
    return written.run(request, say)


def classify(request: ClassifyConfig) -> tuple[Classified, ...]:
    """Classify pictures with an artefact; one that cannot be read is reported in its place.

    Raises:
        ValueError: If the artefact cannot be opened or a drawing cannot be saved.
        ImportError: If the artefact's runtime is missing; the message names the extra.
    """
    return classification.run(request)


def report(
    request: ReportRequest, progress: Callable[[str, int, int], None] = lambda name, done, total: None
) -> ReportResult:
    """Write a page about artefacts, and its values as JSON beside it; both appear, or everything stays as it was.

    Args:
        progress: Called with an artefact's name, pictures done and in all.

    Raises:
        ValueError: If an artefact, the records, the pictures or the output do not fit; the message says which.
        ImportError: If a library or a runtime is missing; the message names the extra.
    """
    from edge_vit.findings import make as reports

    return reports.run(request, progress)


def serve(request: ReportRequest, port: int = 0) -> "Server":
    """Return a server of a page that runs .tflite files in the browser; its `serve_forever` serves until it is stopped.

    It listens on this machine alone, under a random path, and its page sends nothing anywhere.

    Args:
        port: 0 for any that is free.

    Raises:
        ValueError: If a file is not for LiteRT.js, or that cannot be fetched; the message says what to do.
        ImportError: If a library is missing; the message names the extra.
    """
    from edge_vit.findings.serve import Server, make_site
    from edge_vit.reports.page import check_libraries, render

    check_libraries()
    return Server(make_site(request, lambda found: render(found.values, found.thumbnails)), port)
