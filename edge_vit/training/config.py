"""Settings of training that the command line shows; importing them loads no torch."""

from dataclasses import dataclass
from pathlib import Path


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
        if not 0.0 < self.min_scale <= 1.0:
            raise ValueError(f"min_scale {self.min_scale} is not allowed; use more than 0, up to 1")
        for field in ("color", "erase", "mixup", "cutmix", "mix_prob"):
            if getattr(self, field) < 0.0:
                raise ValueError(f"{field} {getattr(self, field)} is not allowed; use 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run; see `--help` for each field."""

    model: str
    data: Path
    output_dir: Path
    qat: bool
    freeze_epochs: int
    resolution: int
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_epochs: float
    label_smoothing: float
    ema_decay: float
    drop_path: float | None
    augment: AugmentConfig
    weights: Path | None
    teacher: Path | None
    distill_weight: float
    seed: int
    num_workers: int
    threads: int | None
    keep_decoded: bool
    precision: str
    device: str
    log_every: int

    def __post_init__(self) -> None:
        if self.qat and self.weights is None:
            raise ValueError("--qat starts from a float checkpoint; give it with --weights")
        if self.freeze_epochs < 0:
            raise ValueError(f"freeze_epochs {self.freeze_epochs} is not allowed; use 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """Where the best checkpoint lies and how good it is on the validation folder."""

    checkpoint: str
    top1: float
    epochs: int
    num_val_images: int
