"""Chips whose NPUs LiteRT compiles for ahead of time, by vendor. Importing this loads nothing."""

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One vendor's plugin in LiteRT's wheel.

    Attributes:
        name: As in ai_edge_litert.aot.vendors.
        title: As people call it.
        package: The distribution that brings the vendor's compiler, and `module`, what it is imported as.
        chips: As the plugin names them.
        setting: An environment variable that names a folder of the compiler's libraries instead; "" for none.
    """

    name: str
    title: str
    package: str
    module: str
    chips: tuple[str, ...]
    setting: str = ""


def _vendor(name: str, title: str, sdk: str, chips: str, setting: str = "") -> Vendor:
    package = f"ai-edge-litert-sdk-{sdk}"
    return Vendor(
        name=name, title=title, package=package, module=package.replace("-", "_"), chips=tuple(chips.split()),
        setting=setting,
    )  # fmt: skip


VENDORS = (
    _vendor(
        "qualcomm", "Qualcomm", "qualcomm",
        "SA8255 SA8295 SM8350 SM8450 SM8475 SM8550 SM8650 SM8750 SM8845 SM8850", "EDGE_VIT_QAIRT",
    ),
    _vendor(
        "mediatek", "MediaTek", "mediatek",
        "MT6853 MT6877 MT6878 MT6879 MT6886 MT6893 MT6895 MT6897 MT6983 MT6985 MT6989 MT6991 MT6993 MT8171 MT8188 "
        "MT8189",
    ),
    _vendor("samsung", "Samsung", "samsung", "E9965"),
    _vendor("google_tensor", "Google", "google-tensor", "Tensor_G3 Tensor_G4 Tensor_G5 Tensor_G6"),
    _vendor("intel_openvino", "Intel", "intel", "LNL PTL"),
)  # fmt: skip
_BY_CHIP = {chip.lower(): (vendor, chip) for vendor in VENDORS for chip in vendor.chips}


def find_chips(names: str) -> tuple[tuple[Vendor, str], ...]:
    """Return vendor and chip for each of several names, joined by commas, in any case.

    Raises:
        ValueError: If there is no such chip, or one stands twice.
    """
    found = []
    for name in names.lower().split(","):
        if name not in _BY_CHIP:
            near = difflib.get_close_matches(name, _BY_CHIP, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown chip {name!r}; `--npu list` names all{hint}")
        if _BY_CHIP[name] in found:
            raise ValueError(f"chip {name} stands twice; name each once")
        found.append(_BY_CHIP[name])
    return tuple(found)


def explanation() -> list[str]:
    """Return every vendor's chips, and where its compiler comes from, line by line."""
    lines = []
    for vendor in VENDORS:
        other = f", or {vendor.setting}, a folder of its libraries" if vendor.setting else ""
        lines += [f"{vendor.title}: {', '.join(vendor.chips).lower()}", f"  needs {vendor.package}{other}"]
    return lines
