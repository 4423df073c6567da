"""Image folders for training: decoded once, viewed anew in every epoch, in an order that only the seed decides."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from calibration.dataset import SkippedImage, list_class_folders, read_class_names, skipped_lines
from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, load_pixels
from edge_vit.training.augment import BatchAugment, random_resized_crop
from edge_vit.training.config import TrainConfig


def decode(path: Path, shorter_side: int) -> Tensor:
    """Read an image as uint8 (3, H, W), its shorter side at most `shorter_side`."""
    with Image.open(path) as file:
        file.draft("RGB", (shorter_side, shorter_side))
        image = file.convert("RGB")
    scale = shorter_side / min(image.size)
    if scale < 1.0:
        size = (max(shorter_side, round(image.width * scale)), max(shorter_side, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


class TrainImages(Dataset):
    """Random views of an image folder: item (epoch, i) is (uint8 (3, R, R), label), the same on every machine.

    Args:
        samples: (path, label) pairs.
        keep_decoded: Hold decoded images in memory; costs 3 * side * side bytes each, saves decoding in every epoch.
    """

    def __init__(
        self, samples: list[tuple[Path, int]], resolution: int, min_scale: float, seed: int, keep_decoded: bool
    ) -> None:
        self.samples, self.resolution, self.min_scale, self.seed = samples, resolution, min_scale, seed
        self.side = max(192, round(resolution * 256 / 224))
        self.decoded: list[Tensor] | None = None
        if keep_decoded:
            with ThreadPoolExecutor() as pool:
                self.decoded = list(pool.map(lambda sample: decode(sample[0], self.side), samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, i = key
        path, label = self.samples[i]
        image = self.decoded[i] if self.decoded is not None else decode(path, self.side)
        generator = torch.Generator().manual_seed(hash((self.seed, epoch, i)) & 0x7FFFFFFF)
        return random_resized_crop(image, self.resolution, self.min_scale, generator), label


class EpochSampler(Sampler):
    """Give (epoch, index) in an order drawn from seed and epoch; ranks take every `world_size`-th of it."""

    def __init__(self, num_samples: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.num_samples, self.seed, self.rank, self.world_size = num_samples, seed, rank, world_size
        self.epoch = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.num_samples, generator=generator)[: len(self) * self.world_size]
        return ((self.epoch, int(i)) for i in order[self.rank :: self.world_size])

    def __len__(self) -> int:
        return self.num_samples // self.world_size


def make_loader(dataset: TrainImages, sampler: EpochSampler, batch_size: int, num_workers: int) -> DataLoader:
    """Return batches (uint8 (B, 3, R, R), labels (B,)); an incomplete last batch is left out."""
    return DataLoader(
        dataset, batch_size=batch_size, sampler=sampler, num_workers=num_workers, drop_last=True,
        persistent_workers=False, prefetch_factor=4 if num_workers else None,
    )  # fmt: skip


def find_samples(folder: Path) -> tuple[list[tuple[Path, int]], list[str]]:
    """List an image folder: ((path, label) pairs, class folder names in sorted order).

    Raises:
        ValueError: If there is no class folder, or an empty one.
    """
    images = list_class_folders(folder)
    empty = [name for label, name in enumerate(images.folders) if label not in set(images.labels)]
    if empty:
        raise ValueError(f"{folder}: class folder {empty[0]} holds no pictures; add some, or remove it")
    return list(zip(images.paths, images.labels, strict=True)), list(images.folders)


def drop_unreadable(samples: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """Open every image's header; return the readable ones; the rest are named on stderr."""

    def fault(sample: tuple[Path, int]) -> str | None:
        try:
            with Image.open(sample[0]) as image:
                image.verify()
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
            return str(e)
        return None

    with ThreadPoolExecutor() as pool:
        faults = list(pool.map(fault, samples))
    skipped = [SkippedImage(path=s[0], reason=f) for s, f in zip(samples, faults, strict=True) if f is not None]
    for line in skipped_lines(skipped):
        print(line, file=sys.stderr)
    return [sample for sample, f in zip(samples, faults, strict=True) if f is None]


def eval_images(samples: list[tuple[Path, int]], resolution: int) -> Tensor:
    """Return what the model is judged on: pre-processed images, uint8 (N, 3, resolution, resolution)."""
    preprocess = Preprocess(resolution=resolution)

    def load(sample: tuple[Path, int]) -> Tensor:
        return torch.from_numpy(load_pixels(sample[0], preprocess)).permute(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        return torch.stack(list(pool.map(load, samples)))


def class_list(folder: Path, names: list[str]) -> list[dict[str, str]]:
    """Return [{"id": folder name, "name": readable name}]; names come from classes.json in `folder` if it is there."""
    known = read_class_names(folder)
    return [{"id": name, "name": known.get(name, name)} for name in names]


@dataclass(kw_only=True)
class TrainingData:
    """Pictures to learn from and pictures to judge by."""

    classes: list[dict[str, str]]
    loader: DataLoader
    sampler: EpochSampler
    augment: BatchAugment
    val_images: Tensor
    val_labels: Tensor
    train_samples: list[tuple[Path, int]]
    resolution: int

    def calibration_pixels(self, count: int = 128) -> np.ndarray:
        """Return training pictures spread over the classes, uint8 (count, R, R, 3), prepared as for evaluation."""
        step = max(1, len(self.train_samples) // count)
        chosen = self.train_samples[::step][:count]
        return eval_images(chosen, self.resolution).permute(0, 2, 3, 1).numpy()

    def evaluate(self, module: nn.Module, device: torch.device, use_bf16: bool) -> float:
        module.eval()
        correct = 0
        with torch.inference_mode():
            for images, labels in zip(self.val_images.split(100), self.val_labels.split(100), strict=True):
                x = self.augment.normalise(images.to(device)).to(memory_format=torch.channels_last)
                with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
                    correct += int((module(x).argmax(-1).cpu() == labels).sum())
        return 100.0 * correct / len(self.val_labels)


def load_data(config: TrainConfig, rank: int, world_size: int) -> TrainingData:
    samples, names = find_samples(config.data / "train")
    val_samples, val_names = find_samples(config.data / "val")
    if names != val_names:
        raise ValueError(f"train and val under {config.data} have different class folders; make them equal")
    samples, val_samples = drop_unreadable(samples), drop_unreadable(val_samples)
    if len(samples) < config.batch_size * world_size:
        count = len(samples)
        raise ValueError(f"{count} training images are fewer than one batch; use --batch-size {count} or less")
    dataset = TrainImages(samples, config.resolution, config.augment.min_scale, config.seed, config.keep_decoded)
    sampler = EpochSampler(len(samples), config.seed, rank, world_size)
    val_images = eval_images(val_samples, config.resolution)
    return TrainingData(
        classes=class_list(config.data, names),
        loader=make_loader(dataset, sampler, config.batch_size, config.num_workers),
        sampler=sampler,
        augment=BatchAugment(config.augment, IMAGENET_MEAN, IMAGENET_STD),
        val_images=val_images,
        val_labels=torch.tensor([label for _, label in val_samples]),
        train_samples=samples,
        resolution=config.resolution,
    )
