"""Run an artefact from Python, whatever its runtime: RGB pixels in, float logits or probabilities out."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.manifest import InputInfo, Manifest, load_for

# Suffix -> "module:function", imported when chosen. The function takes (path, threads) and returns a callable from one
# input array, of the manifest's shape and type, to the raw output array; integers come out dequantized.
RUNNERS = {
    ".tflite": "converters.tflite.run:load",
    ".pte": "converters.executorch.run:load",
    ".mlpackage": "converters.coreml.run:load",
    ".onnx": "converters.onnx.run:load",
}

# Other ways to run a file: name -> its suffix, and "module:function" as above.
OTHER_RUNTIMES = {"hexagon": (".onnx", "converters.onnx.hexagon:load")}

_FREE_BATCH = 32  # at once, where the file leaves it open


class Artefact:
    """An opened artefact: its manifest, and `run`."""

    def __init__(self, manifest: Manifest, call: Callable[[np.ndarray], np.ndarray]) -> None:
        self.manifest = manifest
        self._call = call

    def run(self, images: np.ndarray) -> np.ndarray:
        """Classify pictures.

        Args:
            images: RGB pixels, (B, H, W, 3), uint8, any B; H and W as the manifest says.

        Returns:
            Logits or probabilities, as the manifest's `output.kind` says, (B, classes), float32.
        """
        info = self.manifest.input
        if images.dtype != np.uint8 or images.shape[1:] != (info.height, info.width, 3):
            expected = f"uint8 (B, {info.height}, {info.width}, 3)"
            raise ValueError(f"images are {images.dtype} {images.shape}; {self.manifest.file.name} takes {expected}")
        step = _FREE_BATCH if info.free_batch else info.shape[0]
        rest = 0 if info.free_batch else -len(images) % step  # filled up with copies of the last picture
        inputs = to_input(np.concatenate([images, images[-1:].repeat(rest, 0)]) if rest else images, info)
        classes = len(self.manifest.classes)
        outputs = [np.zeros((0, classes))]
        for start in range(0, len(inputs), step):
            outputs.append(self._checked_call(inputs[start : start + step]).reshape(-1, classes))
        return np.concatenate(outputs)[: len(images)].astype(np.float32)

    def _checked_call(self, inputs: np.ndarray) -> np.ndarray:
        """Run one batch; where the file takes or gives something else than its manifest says, say so."""
        name, expected = self.manifest.file.name, len(inputs) * len(self.manifest.classes)
        try:
            outputs = self._call(inputs)
        except (ValueError, RuntimeError) as e:
            raise type(e)(f"{name} does not take what its manifest says: {e}") from e
        if outputs.size != expected:
            raise ValueError(f"{name} gives {outputs.size} numbers, its manifest {expected}; convert again")
        return outputs


def open_artefact(path: str | Path, threads: int = 1) -> Artefact:
    """Open an artefact and its manifest.

    Args:
        path: The artefact; its manifest lies beside it.
        threads: CPU threads of one inference.

    Raises:
        ValueError: If no runtime knows the suffix, or artefact and manifest do not belong together.
        ImportError: If the runtime is not installed; the message names the extra.
    """
    return load_artefact(check_artefact(path, threads), path, threads)


def check_artefact(path: str | Path, threads: int = 1) -> Manifest:
    """Return the manifest of an artefact that `open_artefact` would open, without loading its runtime.

    Raises:
        ValueError: As `open_artefact`.
    """
    path = Path(path)
    if path.suffix not in RUNNERS:
        known = ", ".join(sorted(RUNNERS))
        raise ValueError(f"{path}: no runtime here runs '{path.suffix}' files; known are {known}")
    if threads < 1:
        raise ValueError(f"threads {threads} is not allowed; use 1 or more")
    manifest = load_for(path)
    if manifest.features:
        raise ValueError(f"{path}: gives feature maps, no classes; convert without --features")
    return manifest


def check_runtime(runtime: str, path: Path) -> None:
    """Raise ValueError unless `runtime` is "", for the format's own, or another one that takes such files."""
    if not runtime:
        return
    if runtime not in OTHER_RUNTIMES:
        raise ValueError(f"unknown runtime {runtime!r}; choose from {', '.join(OTHER_RUNTIMES)}, or leave it out")
    if path.suffix != OTHER_RUNTIMES[runtime][0]:
        raise ValueError(f"{path}: {runtime} runs {OTHER_RUNTIMES[runtime][0]} files; convert with --target onnx")


def load_artefact(manifest: Manifest, path: str | Path, threads: int = 1, runtime: str = "") -> Artefact:
    """Load the runtime of an artefact that was checked.

    Args:
        runtime: "" for the format's own; another one as in `check_runtime`.

    Raises:
        ValueError: If the runtime does not take the file.
        ImportError: If it is not installed; the message names the extra.
    """
    path = Path(path)
    check_runtime(runtime, path)
    module, function = (OTHER_RUNTIMES[runtime][1] if runtime else RUNNERS[path.suffix]).split(":")
    load = getattr(importlib.import_module(module), function)
    return Artefact(manifest, load(path, threads))


def run_maps(path: str | Path, images: np.ndarray, threads: int = 1) -> tuple[np.ndarray, ...]:
    """Run the file of a backbone.

    Args:
        images: RGB pixels, (N, H, W, 3), uint8; H and W as the manifest says.

    Returns:
        Every map in the order of the manifest's `features`, (N, C, h, w), float32.

    Raises:
        ValueError: If artefact and manifest do not belong together, or it gives other maps than its manifest says.
        ImportError: If the runtime is not installed; the message names the extra.
    """
    path = Path(path)
    manifest = load_for(path)
    run = importlib.import_module(RUNNERS[path.suffix].split(":")[0]).load_all(path, threads)
    step, inputs = manifest.input.shape[0], to_input(images, manifest.input)
    rows = []
    for start in range(0, len(inputs), step):
        batch = inputs[start : start + step]
        rows.append(run(np.concatenate([batch, batch[-1:].repeat(step - len(batch), 0)])))
    maps = tuple(np.concatenate(parts)[: len(images)].astype(np.float32) for parts in zip(*rows, strict=True))
    shapes = [found.shape[1:] for found in maps]
    wanted = [entry.shape[1:] for entry in manifest.features]
    if shapes != wanted:
        raise ValueError(f"{path.name} gives maps of {shapes}, its manifest says {wanted}; convert again")
    return maps


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits, (..., classes), into probabilities, which add up to 1; float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def to_input(images: np.ndarray, info: InputInfo) -> np.ndarray:
    """Bring uint8 NHWC pixels into the range, type and layout that the manifest asks for.

    When the caller normalises, the arithmetic is that of `calibration.preprocess.normalise`.
    """
    if info.dtype in ("uint8", "int8"):
        inputs = (images.astype(np.int16) + int(info.value_range[0])).astype(info.dtype)
    elif info.normalization == "caller":
        std, mean = np.asarray(info.std, np.float64), np.asarray(info.mean, np.float64)
        factor, shift = (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)
        inputs = (images.astype(np.float32) * factor + shift).astype(info.dtype)
    else:
        low, high = info.value_range
        inputs = (images.astype(np.float32) * np.float32((high - low) / 255.0) + np.float32(low)).astype(info.dtype)
    return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2) if info.layout == "NCHW" else inputs)
