"""The names of all variants, without what they are made of: a command refuses a wrong name before it loads torch."""

import difflib

from edge_vit.models.limits import Resolution, check_map, check_stem

# In the registry's order; tests/models/test_registry.py holds the two equal.
VARIANT_NAMES = (
    "levit_128s",
    "levit_128",
    "levit_192",
    "levit_256",
    "levit_384",
    "levit_edge_128s",
    "efficientvit_m0",
    "efficientvit_m1",
    "efficientvit_m2",
    "efficientvit_m3",
    "efficientvit_m4",
    "efficientvit_m5",
    "efficientvit_edge_m4",
    "fastervit_0",
    "fastervit_1",
    "fastervit_2",
    "fastervit_3",
    "fastervit_4",
    "fastervit_5",
    "fastervit_6",
    "fastervit_4_21k_224",
    "fastervit_4_21k_384",
    "fastervit_4_21k_512",
    "fastervit_4_21k_768",
    "fastervit_0_any_res",
    "fastervit_1_any_res",
    "fastervit_2_any_res",
    "fastervit_3_any_res",
    "fastervit_4_any_res",
    "fastervit_5_any_res",
    "fastervit_6_any_res",
    "fastervit_edge_0",
)


def check_resolution(name: str, resolution: Resolution) -> None:
    """Raise ValueError if variant `name` does not take pictures of this size, in pixels."""
    if not name.startswith("fastervit"):
        check_stem(resolution)
        return
    check_map(resolution)
    has_windows = name.endswith("_any_res") or "_21k_" in name  # others take theirs from a square map
    if not has_windows and not isinstance(resolution, int):
        raise ValueError(
            f"resolution {resolution} is no square, {name} takes no other; use one side, or an any_res variant"
        )


def size_of(text: str) -> Resolution:
    """Return 224 for "224" and "224x224", (576, 960) for "576x960".

    Raises:
        ValueError: If the text is neither.
    """
    try:
        sides = [int(part) for part in text.split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise ValueError(f"resolution {text!r} is not allowed; use a side or height and width, as in 224 or 576x960")
    return sides[0] if len(set(sides)) == 1 else (sides[0], sides[1])


def check_name(name: str) -> None:
    """Raise ValueError if there is no variant `name`; near matches are named."""
    if name in VARIANT_NAMES:
        return
    if name.endswith(".py"):
        raise ValueError(f"{name} names a file; write {name}:FUNCTION, which returns an nn.Module")
    near = difflib.get_close_matches(name, VARIANT_NAMES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(VARIANT_NAMES)}"
    raise ValueError(f"unknown model {name!r}; {hint} (`python -m edge_vit.models` lists all)")
