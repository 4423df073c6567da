"""What the families' configs have in common: limits, and the size of maps behind a stem.

A resolution is the side of a square, or height and width, in pixels.
"""

Resolution = int | tuple[int, int]

STEM_STRIDE = 16  # of LeViT and EfficientViT
TOTAL_STRIDE = 32  # of FasterViT


def check_limits(num_classes: int, drop_path: float = 0.0) -> None:
    """Raise ValueError if a value that every family has is not allowed."""
    if num_classes < 1:
        raise ValueError(f"num_classes {num_classes} is not allowed; use 1 or more")
    if not 0.0 <= drop_path < 1.0:
        raise ValueError(f"drop_path {drop_path} is not allowed; use 0 up to, not including, 1")


def sides_of(resolution: Resolution) -> tuple[int, int]:
    """Return height and width."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


def check_stem(resolution: Resolution) -> None:
    """Raise ValueError if a stem of four convolutions of stride 2 does not take images of this size."""
    if any(side < 64 or side % STEM_STRIDE for side in sides_of(resolution)):
        raise ValueError(f"resolution {resolution} is not allowed; use a multiple of {STEM_STRIDE} from 64 up")


def check_map(resolution: Resolution) -> None:
    """Raise ValueError if four stages that halve a map, behind a stem of stride 4, do not take images of this size."""
    sides = sides_of(resolution)
    if min(sides) < 2 * TOTAL_STRIDE or any(side % TOTAL_STRIDE for side in sides):
        allowed = f"use multiples of {TOTAL_STRIDE} from {2 * TOTAL_STRIDE} up"
        raise ValueError(f"resolution {resolution} is not allowed; {allowed}")


def grid_of(resolution: Resolution, stage: int) -> tuple[int, int]:
    """Return height and width of the map in `stage`, counted from 0, which every stage halves, rounding up."""
    height, width = (side // STEM_STRIDE for side in sides_of(resolution))
    for _ in range(stage):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width
