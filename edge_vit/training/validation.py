"""Judge a model on labelled pictures: every process its share, streamed."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calibration.dataset import BatchLoader, ImageSet
from calibration.preprocess import Preprocess
from edge_vit.training.processes import total

BATCH_SIZE = 100


def pixel_batches(
    images: ImageSet, preprocess: Preprocess, pixels: np.ndarray | None, threads: int
) -> Iterator[tuple[Any, Any]]:
    """Yield prepared pictures, uint8 (B, R, R, 3), and their labels, int64 (B,).

    Args:
        pixels: The pictures as prepared before; None to read them now, which holds two batches in memory.

    Raises:
        RuntimeError: If a picture that could be read before no longer can.
    """
    if pixels is not None:
        labels = np.asarray(images.labels, np.int64)
        for start in range(0, len(pixels), BATCH_SIZE):
            yield pixels[start : start + BATCH_SIZE], labels[start : start + BATCH_SIZE]
        return
    if not len(images):
        return
    loader = BatchLoader(images, preprocess, batch_size=BATCH_SIZE, threads=threads)
    for batch in loader:
        yield batch.pixels, batch.labels
    if loader.skipped:
        gone = loader.skipped[0]
        raise RuntimeError(f"a picture that could be read before no longer can: {gone.path}: {gone.reason}")


@torch.inference_mode()
def judge(
    module: nn.Module,
    batches: Iterator[tuple[Any, Any]],
    normalise: Callable[[Tensor], Tensor],
    device: torch.device,
    bf16: bool,
) -> tuple[int, float]:
    """Return how many pictures of all processes `module` puts into their class, and the sum of their cross-entropies.

    Args:
        batches: Of this process, as `pixel_batches` yields them.
        normalise: uint8 (B, 3, R, R) -> what `module` takes.
    """
    module.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    for pixels, labels in batches:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = module(normalise(images)).float()
        targets = torch.from_numpy(labels).to(device)
        sums[0] += (logits.argmax(-1) == targets).sum()
        sums[1] += F.cross_entropy(logits, targets, reduction="sum")
    right, loss = total(sums).tolist()
    return int(right), loss
