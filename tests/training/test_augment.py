"""Augmentation varies what it says, as strongly as it says, from the generator that it is given."""

import dataclasses

import pytest
import torch

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from edge_vit.training.augment import BatchAugment, random_resized_crop
from edge_vit.training.config import AugmentConfig
from edge_vit.training.seeds import stream

OFF = AugmentConfig(min_scale=1.0, color=0.0, erase=0.0, mixup=0.0, cutmix=0.0, mix_prob=0.0)


def augmented(images, seed=0, targets=None, **config):
    targets = torch.eye(len(images)) if targets is None else targets
    augment = BatchAugment(dataclasses.replace(OFF, **config), IMAGENET_MEAN, IMAGENET_STD)
    return augment(images, targets, stream("test", seed))


def normalised(images):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.float() / 255.0 - mean) / std


@pytest.fixture
def images():
    return torch.randint(0, 256, (8, 3, 20, 24), generator=stream("images"), dtype=torch.uint8)


def test_nothing_is_varied_when_all_is_off(images):
    x, targets = augmented(images)
    torch.testing.assert_close(x, normalised(images))
    assert torch.equal(targets, torch.eye(8))


@pytest.mark.parametrize(
    "config",
    [{"color": 0.4}, {"erase": 0.9}, {"mixup": 0.8, "mix_prob": 1.0}, {"cutmix": 1.0, "mix_prob": 1.0}],
)
def test_the_generator_alone_decides(images, config):
    first, again, other = (augmented(images, seed, **config) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    torch.manual_seed(123)
    assert torch.equal(augmented(images, 0, **config)[0], first[0]), "the global generator has no part in it"


def test_a_crop_keeps_at_least_its_share_and_all_of_the_picture_at_most():
    """A picture whose value is its column: a crop shows which columns it kept."""
    columns = torch.arange(240).expand(3, 240, 240).to(torch.uint8)
    shares, flips = [], 0
    for seed in range(400):
        view = random_resized_crop(columns, 64, 0.25, stream("crop", seed))
        assert view.shape == (3, 64, 64) and view.dtype == torch.uint8
        left, right = int(view[0, 32, 0]), int(view[0, 32, -1])
        flips += left > right
        shares.append((abs(right - left) + 4) / 240)
    assert 160 < flips < 240
    # Area 1/4 to 1 with aspect 3/4 to 4/3: a side is sqrt(1/4 * 3/4) to 1 of the picture's.
    assert min(shares) > 0.41 and max(shares) <= 1.02 and min(shares) < 0.5 and max(shares) > 0.95


def test_a_whole_picture_is_only_turned_about():
    image = torch.randint(0, 256, (3, 32, 32), generator=stream("image"), dtype=torch.uint8)
    generator = stream("whole", 0)
    views = [random_resized_crop(image[:, :1, :1].expand(3, 32, 32), 8, 1.0, generator) for _ in range(4)]
    assert all(torch.equal(view, image[:, :1, :1].expand(3, 8, 8)) for view in views)


def test_colour_stays_within_its_strength(images):
    grey = torch.full((512, 3, 4, 4), 100, dtype=torch.uint8)
    x, _ = augmented(grey, color=0.4, targets=torch.zeros(512, 2))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    factors = (x * std + mean) / (100 / 255)
    # Contrast and saturation leave a picture of one grey as it is; brightness remains.
    assert factors.min() > 0.599 and factors.max() < 1.401 and factors.min() < 0.63 and factors.max() > 1.37
    assert (factors.amax((1, 2, 3)) - factors.amin((1, 2, 3))).max() < 1e-5


def test_as_many_pictures_as_said_lose_a_rectangle():
    images = torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)
    x, _ = augmented(images, erase=0.25, targets=torch.zeros(1000, 2))
    changed = (x != normalised(images)).all(1)
    share = changed.flatten(1).float().mean(1)
    assert 200 < int((share > 0).sum()) < 300
    erased = share[share > 0]
    assert 0.01 < erased.min() < 0.06 and 0.15 < erased.max() < 0.25
    rows, columns = changed.any(2).sum(1), changed.any(1).sum(1)
    assert torch.equal((rows * columns).float() / 1024, share), "a rectangle each"


def test_mixup_blends_pictures_and_targets_alike(images):
    x, targets = augmented(images, mixup=0.8, mix_prob=1.0)
    share = float(targets[0, 0])
    assert 0.0 < share < 1.0 and targets[0, 7] == pytest.approx(1.0 - share)
    plain = normalised(images)
    torch.testing.assert_close(x, share * plain + (1.0 - share) * plain.flip(0))


def test_cutmix_pastes_a_rectangle_and_counts_its_area(images):
    plain = normalised(images)
    for seed in range(20):
        x, targets = augmented(images, seed, cutmix=1.0, mix_prob=1.0)
        pasted = (x != plain).any(1)
        assert torch.equal(x[pasted.unsqueeze(1).expand_as(x)], plain.flip(0)[pasted.unsqueeze(1).expand_as(x)])
        assert float(targets[0, 7]) == pytest.approx(float(pasted[0].float().mean()), abs=0.01)
        torch.testing.assert_close(targets.sum(1), torch.ones(8))


def test_as_many_batches_as_said_are_mixed(images):
    plain = normalised(images)
    mixed = sum(
        not torch.equal(augmented(images, s, mixup=1.0, cutmix=1.0, mix_prob=0.3)[0], plain) for s in range(300)
    )
    assert 65 < mixed < 115
