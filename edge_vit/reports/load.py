"""Code that loads an artefact in an app and in Python, from what its manifest says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FILES = {
    "tflite": (("Android (Kotlin)", "kotlin", "tflite.kt"), ("iOS (Swift)", "swift", "tflite.swift"),
               ("Python", "python", "tflite.py")),
    "executorch": (("Android (Kotlin)", "kotlin", "executorch.kt"), ("iOS (Swift)", "swift", "executorch.swift"),
                   ("Python", "python", "executorch.py")),
    "onnx": (("Python", "python", "onnx.py"),),
    "coreml": (("iOS (Swift)", "swift", "coreml.swift"), ("Python", "python", "coreml.py")),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """Code for one platform; `language` is "kotlin", "swift" or "python"."""

    platform: str
    language: str
    code: str


def snippets(manifest: Mapping[str, Any], environment: Any) -> list[Snippet]:
    """Return the code for each platform that runs the artefact's format; none for a format that is not known.

    Args:
        environment: Jinja's, with the templates of this package.
    """
    info = manifest["input"]
    high, wide = info["shape"][1:3] if info["layout"] == "NHWC" else info["shape"][2:4]
    values = {
        "file": manifest["file"]["name"],
        "stem": manifest["file"]["name"].rsplit(".", 1)[0],
        "input": info,
        "shape": info["shape"],
        "high": high,
        "wide": wide,
        "box_high": round(high / info["crop_pct"]) if high != wide else info["resize"],
        "box_wide": round(wide / info["crop_pct"]) if high != wide else info["resize"],
        "is_float": info["dtype"] not in ("uint8", "int8"),
        "filter": info["interpolation"].upper(),
        "shift": int(info["value_range"][0]),
        "swift_type": {"uint8": "UInt8", "int8": "Int8"}.get(info["dtype"], "Float"),
        "output": manifest["output"],
        "num_outputs": manifest["output"]["shape"][-1],
        "is_classifier": not manifest["features"],
        "is_logits": manifest["output"]["kind"] == "logits",
    }
    return [
        Snippet(
            platform=p, language=language, code=environment.get_template(f"load/{name}.jinja").render(values).strip()
        )
        for p, language, name in _FILES.get(manifest["target"], ())
    ]
