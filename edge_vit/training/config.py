"""Settings of training that the command line shows; importing them loads no torch."""

from dataclasses import dataclass


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
