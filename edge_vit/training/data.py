"""Pictures for training: read for real once, viewed anew in every epoch, in an order that only the seed decides."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from calibration.dataset import ImageSet, SkippedImage, read_pictures, skipped_lines
from calibration.preprocess import Preprocess, load_pixels, load_rgb, resize_shorter
from edge_vit.training.augment import random_resized_crop
from edge_vit.training.folders import Splits, check_no_class_is_empty, fitting_batch, without
from edge_vit.training.processes import Place, gather
from edge_vit.training.seeds import derive_seed, stream


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoder:
    """Reads a picture as every other command does, and makes it no larger than training needs.

    Attributes:
        resolution: Side of the model's input in pixels.
    """

    resolution: int

    @property
    def side(self) -> int:
        """Longest that the shorter side of a decoded picture is."""
        return max(192, round(self.resolution * 256 / 224))

    def __call__(self, path: Path) -> Tensor:
        """Return uint8 (3, H, W).

        Raises:
            ValueError: If the picture cannot be read; the message names it.
        """
        image = load_rgb(path, Preprocess(resolution=self.resolution).resize)
        if min(image.size) > self.side:
            image = resize_shorter(image, self.side, "bicubic")
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class TrainImages(Dataset):
    """Random views of pictures: item (epoch, i) is (uint8 (3, R, R), label), the same on every machine.

    Args:
        images: The pictures.
        decoder: Reads one of them.
        min_scale: Smallest share of the picture that a view keeps.
        decoded: The pictures as `decoder` gives them; None reads them in every epoch.
    """

    def __init__(
        self, images: ImageSet, decoder: Decoder, min_scale: float, seed: int, decoded: list[Tensor] | None = None
    ) -> None:
        self.images, self.decoder, self.min_scale, self.seed = images, decoder, min_scale, seed
        self.decoded = decoded

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, i = key
        image = self.decoder(self.images.paths[i]) if self.decoded is None else self.decoded[i]
        generator = stream("view", self.seed, epoch, i)
        return random_resized_crop(image, self.decoder.resolution, self.min_scale, generator), self.images.labels[i]


class EpochSampler(Sampler):
    """Give (epoch, index) in an order drawn from seed and epoch; each process takes its share of it.

    Args:
        labels: Of all pictures, to draw from every class as often; None to take every picture once.
    """

    def __init__(self, num_samples: int, seed: int, place: Place, labels: Sequence[int] | None = None) -> None:
        self.num_samples, self.seed, self.place, self.labels = num_samples, seed, place, labels
        self.epoch = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed, self.epoch))
        if self.labels is None:
            order = torch.randperm(self.num_samples, generator=generator)
        else:
            order = balanced_order(torch.tensor(self.labels), generator)
        order = order[: len(self) * self.place.num_processes]
        return ((self.epoch, int(order[i])) for i in self.place.share(len(order)))

    def __len__(self) -> int:
        return self.num_samples // self.place.num_processes


def balanced_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return as many indices as there are labels, int64 (N,), each class as often as the others to within one.

    Of a small class pictures come again, but none a second time before all came once.
    """
    classes, counts = labels.unique(return_counts=True)
    shares = torch.full_like(classes, len(labels) // len(classes))
    shares[torch.randperm(len(classes), generator=generator)[: len(labels) % len(classes)]] += 1
    parts = []
    for label, count, share in zip(classes.tolist(), counts.tolist(), shares.tolist(), strict=True):
        members = (labels == label).nonzero().flatten()
        rounds = [torch.randperm(count, generator=generator) for _ in range(-(-share // count))]
        parts.append(members[torch.cat(rounds)[:share]] if rounds else members[:0])
    order = torch.cat(parts)
    return order[torch.randperm(len(order), generator=generator)]


class TrainingData:
    """Batches of views, epoch by epoch: (uint8 (B, 3, R, R), labels (B,)); an incomplete last batch is left out."""

    def __init__(
        self, dataset: TrainImages, place: Place, batch_size: int, num_workers: int, is_balanced: bool = False
    ) -> None:
        self.images, self.batch_size = dataset.images, batch_size
        labels = dataset.images.labels if is_balanced else None
        self._sampler = EpochSampler(len(dataset), dataset.seed, place, labels)
        self._loader = DataLoader(
            dataset, batch_size=batch_size, sampler=self._sampler, num_workers=num_workers, drop_last=True,
            prefetch_factor=4 if num_workers else None,
        )  # fmt: skip

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self._loader)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch's batches.

        Raises:
            RuntimeError: If a picture that could be read before no longer can.
        """
        self._sampler.epoch = epoch
        loaded = iter(self._loader)
        for _ in range(self.steps):
            try:
                batch = next(loaded)
            except ValueError as e:  # from a loading process it comes with that process's traceback
                reason = str(e).rstrip().rpartition("\n")[2].removeprefix("ValueError: ")
                raise RuntimeError(f"a picture that could be read before no longer can: {reason}") from e
            yield batch[0], batch[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Pictures to judge a model by.

    Attributes:
        images: This process's share of them.
        pixels: Those, prepared, uint8 (N, R, R, 3); None to read them each time.
        num_images: Of all processes.
    """

    images: ImageSet
    pixels: np.ndarray | None
    num_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedData:
    """What a training learns from, chooses its epoch by and is judged by."""

    train: TrainingData
    select: Judged
    val: Judged


def load_data(
    splits: Splits, preprocess: Preprocess, batch_size: int, min_scale: float, seed: int, num_workers: int,
    is_kept: bool, place: Place, is_balanced: bool = False,
) -> LoadedData:  # fmt: skip
    """Read every picture once, leave out those that cannot be read, and say which.

    Args:
        preprocess: How a picture is shown to be judged; square. Of one to learn from a crop has the same size.
        batch_size: At most; fewer where the pictures do not fill one, which is said.
        is_kept: Hold decoded pictures in memory: 3 * side * side bytes each, and no decoding in every epoch.
        is_balanced: Draw from every class as often.

    Raises:
        ValueError: If a class has no readable picture, or there are too few to learn from.
    """
    threads = max(2, num_workers)
    decoder = Decoder(resolution=preprocess.size[0])
    # Where pictures are kept, every process needs all of them; else each reads its share of them once.
    decoded: list[Tensor] | None = [] if is_kept else None
    indices = range(len(splits.train)) if is_kept else place.share(len(splits.train))
    train = _without_unreadable(splits.train, _read(splits.train, indices, decoder, threads, decoded), place, is_kept)
    fitting = fitting_batch(len(train), batch_size, place.num_processes)
    if fitting < batch_size and place.is_main:
        print(f"batches of {fitting}, not {batch_size}: there are {len(train)} pictures to learn from", file=sys.stderr)
    dataset = TrainImages(train, decoder, min_scale, seed, decoded)
    select = _load_judged(splits.select, preprocess, threads, is_kept, place, may_lose_classes=True)
    val = _load_judged(splits.val, preprocess, threads, is_kept, place)
    return LoadedData(train=TrainingData(dataset, place, fitting, num_workers, is_balanced), select=select, val=val)


def _load_judged(
    images: ImageSet, preprocess: Preprocess, threads: int, is_kept: bool, place: Place, may_lose_classes: bool = False
) -> Judged:
    """Read this process's share of some pictures once."""
    kept: list[np.ndarray] | None = [] if is_kept else None
    share = place.share(len(images))
    faults = _read(images, share, lambda path: load_pixels(path, preprocess), threads, kept)
    readable = _without_unreadable(images, faults, place, False, may_lose_classes)
    own = without(images.take(share), (share.index(index) for index, _ in faults))
    pixels = None if kept is None else np.asarray(kept, np.uint8).reshape(-1, *preprocess.size, 3)
    return Judged(images=own, pixels=pixels, num_images=len(readable))


def _read(images: ImageSet, indices: Iterable[int], read: Any, threads: int, kept: list[Any] | None) -> list[Any]:
    """Read some pictures; put them into `kept` unless it is None, return (index, why) of those that cannot be read."""
    indices, faults = list(indices), []
    found = read_pictures(images.take(indices), read, threads=threads)
    for place, result in tqdm(
        found, desc="reading", unit="picture", total=len(indices), disable=not sys.stderr.isatty()
    ):
        if isinstance(result, SkippedImage):
            faults.append((indices[place], result))
        elif kept is not None:
            kept.append(result)
    return faults


def _without_unreadable(
    images: ImageSet, faults: list[tuple[int, SkippedImage]], place: Place, is_known_to_all: bool,
    may_lose_classes: bool = False,
) -> ImageSet:  # fmt: skip
    """Return the readable pictures, the same in every process; the main one names the others on stderr."""
    if not is_known_to_all:
        faults = sorted(gather(faults), key=lambda fault: fault[0])
    skipped = [image for _, image in faults]
    if place.is_main:
        for line in skipped_lines(skipped):
            print(line, file=sys.stderr)
    readable = without(images, (index for index, _ in faults))
    if not may_lose_classes:
        check_no_class_is_empty(readable, skipped, set(images.labels))
    return readable
