"""Settings of training; importing them loads no torch. Every number is checked here, at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_vit.quantization.processors import CPU, check_request, find_processor

DEFAULT_RESOLUTION = 224


@dataclass(frozen=True, slots=True)
class _Span:
    """Allowed values of a number, both ends included unless it says otherwise."""

    low: float
    high: float = math.inf
    is_low_open: bool = False
    is_high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.is_low_open else value >= self.low
        below = value < self.high if self.is_high_open else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        low = f"more than {self.low:g}" if self.is_low_open else f"{self.low:g}"
        if self.high == math.inf:
            return low if self.is_low_open else f"{low} or more"
        return f"{low} up to {'but not ' if self.is_high_open else ''}{self.high:.10g}"


_SHARE = _Span(0.0, 1.0)
_BELOW_ONE = _Span(0.0, 1.0, is_high_open=True)
_POSITIVE_SHARE = _Span(0.0, 1.0, is_low_open=True)
_COUNT = _Span(1, 1_000_000)


def _check_numbers(settings: Any, spans: Mapping[str, _Span]) -> None:
    for name, span in spans.items():
        value = getattr(settings, name)
        if value is not None and value not in span:
            raise ValueError(f"{name} {value} is not allowed; use {span}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """How strongly training images are varied; 0 switches a part off.

    Attributes:
        min_scale: Smallest share of the picture that a random resized crop keeps (arXiv 1409.4842).
        color: Largest relative change of brightness, contrast and saturation.
        erase: Probability that a rectangle is replaced by noise (arXiv 1708.04896).
        mixup: Beta parameter of mixup (arXiv 1710.09412); a batch gets mixup or CutMix, not both.
        cutmix: Beta parameter of CutMix (arXiv 1905.04899).
        mix_prob: Share of batches that are mixed at all.
    """

    min_scale: float = 0.25
    color: float = 0.4
    erase: float = 0.1
    mixup: float = 0.2
    cutmix: float = 1.0
    mix_prob: float = 0.5

    def __post_init__(self) -> None:
        alpha = _Span(0.0, 100.0)
        spans = {"min_scale": _POSITIVE_SHARE, "color": _SHARE, "erase": _SHARE, "mixup": alpha, "cutmix": alpha}
        _check_numbers(self, {**spans, "mix_prob": _SHARE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How long and how fast a model learns, and on what views.

    Attributes:
        batch_size: Images a step and process.
        lr: Peak learning rate.
        accumulate: Batches whose gradients make one step.
        layer_decay: Learning rate of each block as a share of the next one's; 1 gives all the same.
        warmup_share: Share of the run in which the learning rate rises to its peak.
        head_share: Share of the run, its beginning, in which the classifier learns alone.
        freeze_share: Share of the run, its end, with fixed ranges; quantization-aware training alone has ranges.
        ema_decay: Decay of the weights' moving average; 0 switches it off.
        clip_grad: Largest norm of a step's gradient; 0 switches clipping off.
    """

    epochs: int = 100
    batch_size: int = 128
    accumulate: int = 1
    lr: float = 1e-3
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    warmup_share: float = 0.05
    head_share: float = 0.0
    freeze_share: float = 0.0
    label_smoothing: float = 0.1
    ema_decay: float = 0.999
    clip_grad: float = 5.0
    augment: AugmentConfig = AugmentConfig()

    def __post_init__(self) -> None:
        spans = {"epochs": _COUNT, "batch_size": _Span(2, 65_536), "lr": _POSITIVE_SHARE, "weight_decay": _SHARE}
        spans |= {"accumulate": _Span(1, 65_536), "layer_decay": _POSITIVE_SHARE, "head_share": _BELOW_ONE}
        shares = {name: _BELOW_ONE for name in ("label_smoothing", "ema_decay")}
        ends = {name: _Span(0.0) for name in ("warmup_share", "freeze_share", "clip_grad")}
        _check_numbers(self, {**spans, **shares, **ends})
        warmup, freeze = self.epochs * self.warmup_share, self.epochs * self.freeze_share
        if warmup + freeze >= self.epochs:
            frozen = f" and {freeze:g} with frozen ranges" if freeze else ""
            raise ValueError(
                f"{warmup:g} epochs of warm-up{frozen} leave nothing of {self.epochs}; "
                f"use fewer of them (--warmup-epochs{', --freeze-epochs' if freeze else ''}), or more --epochs"
            )


FLOAT_RECIPE = Recipe()
# From weights that know pictures already: a short run, in which the first blocks move least.
FINE_TUNING_RECIPE = Recipe(
    epochs=20, batch_size=32, lr=5e-4, layer_decay=0.75, warmup_share=0.1, ema_decay=0.99,
    augment=AugmentConfig(min_scale=0.35, color=0.3, erase=0.0, mix_prob=0.2),
)  # fmt: skip
# What the embedded checkpoints were made with (edge_vit/checkpoints/README.md): the weights are good already, and steps
# of the size that float training takes throw them and the ranges about.
QAT_RECIPE = Recipe(
    epochs=2, batch_size=64, lr=1e-4, weight_decay=0.0, freeze_share=0.25, ema_decay=0.98,
    augment=AugmentConfig(min_scale=0.5, color=0.2, erase=0.0, mix_prob=0.3),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run; see `--help` of the command for each field.

    Attributes:
        output_dir: None for runs/MODEL_RESOLUTION, with _qat behind it, and the processor if that is not the cpu.
        processor: With `qat`, where the file is to run.
        resolution: Side of the input in pixels; None for 224, with `qat` for what the weights were trained at.
        drop_path: None for the variant's own.
        threads: None for torch's choice.
        prolong: Whether a run in `output_dir` may have been started with fewer epochs.
        weights: "imagenet", "embedded", "hf:ORG/NAME" or a path; None for random weights. Of a network of the user's
            own "auto" or a path; None for what its function gives, too.
        mean, std, crop: Of a network of the user's own, what its pictures are; None for what its function says.
        val_share: Of one folder or list, the share to judge by; None for a tenth.
        select_share: Share of the training pictures to choose the epoch by; 0 takes the last epoch.
        patience: Epochs without a better one after which the run ends; None for all epochs.
        balanced: Whether every class is drawn as often.
        teacher: A checkpoint of ours, an artefact, an exported program, or "package.module:function".
        distill: "soft" for the teacher's whole answer, "hard" for the class that it names.
        temperature: Divides both logits in a soft answer.
    """

    model: str
    data: Path
    recipe: Recipe
    output_dir: Path | None = None
    qat: bool = False
    processor: str = "cpu"
    resolution: int | None = None
    drop_path: float | None = None
    weights: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop: float | None = None
    val_share: float | None = None
    select_share: float = 0.1
    patience: int | None = None
    balanced: bool = False
    teacher: str | None = None
    distill: Literal["soft", "hard"] = "soft"
    distill_weight: float = 0.5
    temperature: float = 1.0
    seed: int = 0
    num_workers: int = 1
    threads: int | None = None
    keep_decoded: bool = False
    prolong: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = 10
    tensorboard: bool = False

    def __post_init__(self) -> None:
        counts = {"threads": _Span(1, 1024), "num_workers": _Span(0, 256), "log_every": _COUNT}
        _check_numbers(self, {**counts, "resolution": _Span(1, 4096), "drop_path": _BELOW_ONE})
        _check_numbers(self, {"distill_weight": _SHARE, "seed": _Span(0, 2**32 - 1), "patience": _COUNT})
        inner = _Span(0.0, 1.0, is_low_open=True, is_high_open=True)
        temperature = _Span(0.0, 100.0, is_low_open=True)
        _check_numbers(self, {"val_share": inner, "select_share": _BELOW_ONE, "temperature": temperature})
        if self.qat and self.weights is None:
            raise ValueError("--qat starts from a float checkpoint; give it with --weights")
        if self.processor != CPU.name and not self.qat:
            raise ValueError(f"--processor {self.processor} is for --qat; float weights are for every processor")
        if self.qat:
            check_request(find_processor(self.processor), "int8", ())
        if self.patience is not None and self.select_share == 0.0:
            raise ValueError(
                "--patience waits for a better epoch, which --select-share 0 does not look for; leave one out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """Where the chosen checkpoint lies and how good it is on the validation pictures.

    Attributes:
        epochs: Epochs that were trained; fewer than asked for where --patience ended the run.
        chosen_epoch: The epoch whose weights it holds, from 0; -1 for what the run started from.
        select_top1: What it was chosen by, on `num_select_images` pictures held back; None where there were none.
        start_top1: With quantization-aware training, what the calibrated model had before; the checkpoint is that
            model where no epoch reached it.
    """

    checkpoint: str
    top1: float
    epochs: int
    num_val_images: int
    chosen_epoch: int
    select_top1: float | None
    num_select_images: int
    start_top1: float | None = None
