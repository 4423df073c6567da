"""Views and their order depend on seed, epoch and picture alone; a long list of names costs what its text costs."""

import pickle
import tracemalloc
from pathlib import Path

import pytest
import torch

from calibration.dataset import ImageSet
from calibration.paths import PathList
from calibration.preprocess import Preprocess
from edge_vit.training.data import Decoder, EpochSampler, TrainImages, balanced_order, load_data
from edge_vit.training.folders import list_splits
from edge_vit.training.processes import Place


def places(num_processes):
    return [Place(rank=rank, num_processes=num_processes) for rank in range(num_processes)]


def order(num_samples, seed, epoch, place):
    sampler = EpochSampler(num_samples, seed, place)
    sampler.epoch = epoch
    keys = list(sampler)
    assert {key[0] for key in keys} <= {epoch} and len(keys) == len(sampler)
    return [index for _, index in keys]


def test_an_epoch_sees_every_picture_once_in_an_order_of_its_own():
    (place,) = places(1)
    first, second = order(100, 0, 0, place), order(100, 0, 1, place)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second != list(range(100)) and first == order(100, 0, 0, place) != order(100, 1, 0, place)


def test_a_balanced_epoch_draws_every_class_as_often():
    labels = torch.tensor([0] * 70 + [1] * 3 + [3] * 27)
    order = balanced_order(labels, torch.Generator().manual_seed(0))
    assert len(order) == 100 and sorted(labels[order].bincount().tolist()) == [0, 33, 33, 34]
    assert sorted(order[labels[order] == 1].bincount()[70:].tolist()) == [11, 11, 11], "all before any comes again"
    assert order[labels[order] == 0].unique().numel() >= 33 and order.tolist() != sorted(order.tolist())
    sampler = EpochSampler(100, 0, Place(rank=1, num_processes=2), labels.tolist())
    epoch_0 = [index for _, index in sampler]
    sampler.epoch = 1
    assert len(epoch_0) == 50 and epoch_0 != [index for _, index in sampler]


@pytest.mark.parametrize("num_processes", [2, 3, 7])
def test_processes_take_turns_in_the_order_of_one(num_processes):
    whole = order(100, 5, 2, Place())
    parts = [order(100, 5, 2, place) for place in places(num_processes)]
    assert len({len(part) for part in parts}) == 1, "or one would wait for ever"
    for batch in zip(*parts, strict=True):
        assert list(batch) == whole[: len(batch)]
        whole = whole[len(batch) :]
    assert len(whole) < num_processes


def test_views_depend_on_seed_epoch_and_picture(pictures):
    images = list_splits(pictures).train
    decoder = Decoder(resolution=32)
    data = TrainImages(images, decoder, 0.25, seed=3)
    kept = TrainImages(images, decoder, 0.25, seed=3, decoded=[decoder(path) for path in images.paths])
    view, label = data[(2, 5)]
    assert view.dtype == torch.uint8 and view.shape == (3, 32, 32) and label == images.labels[5]
    assert torch.equal(view, data[(2, 5)][0]) and torch.equal(view, kept[(2, 5)][0])
    others = [data[(3, 5)][0], TrainImages(images, decoder, 0.25, seed=4)[(2, 5)][0], data[(2, 6)][0]]
    assert not any(torch.equal(view, other) for other in others)


def test_batches_come_epoch_by_epoch(pictures):
    loaded = load_data(
        list_splits(pictures, select_share=0.1), Preprocess(resolution=32), 12, 0.25, 0, 0, False, Place()
    ).train
    assert loaded.steps == 2, "32 pictures in batches of 12; the rest is left out"
    first, again, second = (list(loaded.batches(epoch)) for epoch in (0, 0, 1))
    assert [batch[0].shape for batch in first] == [(12, 3, 32, 32)] * 2
    assert all(torch.equal(a, b) for one, two in zip(first, again, strict=True) for a, b in zip(one, two, strict=True))
    assert not torch.equal(first[0][0], second[0][0])


def many_images(count, root=Path("/data/train")):
    names = (f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG" for i in range(count))
    labels = list(range(1000))  # one number for all pictures of a class, as listing gives them
    return ImageSet(paths=PathList(root, names), labels=tuple(labels[i % 1000] for i in range(count)), folders=())


def test_a_large_list_of_pictures_is_small_and_an_epoch_of_it_needs_no_more():
    count = 200_000
    tracemalloc.start()
    images = many_images(count)
    listed, _ = tracemalloc.get_traced_memory()
    assert listed / count < 50, "bytes a picture: 30 of its name, 8 of its place, 8 of its label"
    sampler = EpochSampler(count, 0, Place())
    tracemalloc.reset_peak()
    seen = sum(len(images.paths.name(index)) for _, index in sampler)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen > 20 * count and (peak - listed) / count < 1, "torch holds the order, 8 bytes a picture; Python nothing"


def test_a_list_of_pictures_travels_to_other_processes():
    images = many_images(1000)
    again = pickle.loads(pickle.dumps(images))
    assert again == images and again.paths[999] == Path("/data/train/n00000999/n00000999_999.JPEG")
