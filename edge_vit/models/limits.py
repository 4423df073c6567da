"""What the families' configs have in common: limits, and the size of maps behind a stem."""

STEM_STRIDE = 16  # of LeViT and EfficientViT
TOTAL_STRIDE = 32  # of FasterViT


def check_limits(num_classes: int, drop_path: float = 0.0) -> None:
    """Raise ValueError if a value that every family has is not allowed."""
    if num_classes < 1:
        raise ValueError(f"num_classes {num_classes} is not allowed; use 1 or more")
    if not 0.0 <= drop_path < 1.0:
        raise ValueError(f"drop_path {drop_path} is not allowed; use 0 up to, not including, 1")


def check_square(resolution: int) -> None:
    """Raise ValueError if a stem of four convolutions of stride 2 does not take images of this side."""
    if resolution < 64 or resolution % STEM_STRIDE:
        raise ValueError(f"resolution {resolution} is not allowed; use a multiple of {STEM_STRIDE} from 64 up")


def check_map(resolution: int | tuple[int, int]) -> None:
    """Raise ValueError if four stages that halve a map, behind a stem of stride 4, do not take images of this size."""
    sides = (resolution, resolution) if isinstance(resolution, int) else resolution
    if min(sides) < 2 * TOTAL_STRIDE or any(side % TOTAL_STRIDE for side in sides):
        allowed = f"use multiples of {TOTAL_STRIDE} from {2 * TOTAL_STRIDE} up"
        raise ValueError(f"resolution {resolution} is not allowed; {allowed}")


def grid_side(resolution: int, stage: int) -> int:
    """Return the side of the map in `stage`, counted from 0, which every stage halves, rounding up."""
    side = resolution // STEM_STRIDE
    for _ in range(stage):
        side = (side + 1) // 2
    return side
