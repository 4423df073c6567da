"""Folders are listed in order, chosen from fairly, and read without losing a picture silently."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.dataset import (
    UNLABELLED,
    BatchLoader,
    choose,
    list_class_folders,
    list_images,
    match_classes,
    read_class_names,
    skipped_lines,
)
from calibration.preprocess import Preprocess

PREPROCESS = Preprocess(resolution=4)
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "imagenette192"


@dataclass
class Label:
    id: str
    name: str


@pytest.fixture
def folder(tmp_path):
    """Three classes with 5, 3 and 4 grey pictures; the grey level is 40 * class + number."""
    for label, (name, count) in enumerate([("cat", 5), ("ant", 3), ("bee", 4)]):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("L", (6, 6), 40 * label + i).save(tmp_path / name / f"{i}.png")
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    return tmp_path


def test_classes_are_sorted_folder_names(folder):
    images = list_class_folders(folder)
    assert images.folders == ("ant", "bee", "cat") and len(images) == 12
    assert images.labels == (0,) * 3 + (1,) * 4 + (2,) * 5
    assert [path.name for path in images.paths[:3]] == ["0.png", "1.png", "2.png"]


def test_flat_folder_has_no_labels(folder):
    images = list_images(folder / "cat")
    assert len(images) == 5 and set(images.labels) == {UNLABELLED} and images.folders == ()
    assert list_images(folder) == list_class_folders(folder)


def test_choice_is_balanced_repeatable_and_grows(folder):
    images = list_class_folders(folder)
    six = choose(images, 6, seed=3)
    assert sorted(six.labels) == [0, 0, 1, 1, 2, 2]
    assert choose(images, 6, seed=3) == six
    assert set(six.paths) < set(choose(images, 8, seed=3).paths)
    assert any(choose(images, 6, seed=seed).paths != six.paths for seed in range(4, 8))
    assert sorted(choose(images, 11).labels) == [0] * 3 + [1] * 4 + [2] * 4
    assert len(choose(images, None)) == len(choose(images, 99)) == 12


def test_choice_does_not_depend_on_the_place_of_the_folder(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("moved") / "data"
    names = [p.relative_to(folder) for p in choose(list_class_folders(folder), 5).paths]
    folder.rename(other)
    assert [p.relative_to(other) for p in choose(list_class_folders(other), 5).paths] == names


@pytest.mark.parametrize("batch_size, threads", [(1, 1), (5, 2), (100, 3)])
def test_batches_keep_order_and_labels(folder, batch_size, threads):
    images = list_class_folders(folder)
    loader = BatchLoader(images, PREPROCESS, batch_size=batch_size, threads=threads)
    for _ in range(2):  # A second loop starts anew.
        batches = list(loader)
        assert all(len(batch.pixels) == batch_size for batch in batches[:-1])
        assert np.concatenate([batch.labels for batch in batches]).tolist() == list(images.labels)
        assert sum((batch.paths for batch in batches), ()) == images.paths
        greys = np.concatenate([batch.pixels for batch in batches])[:, 0, 0, 0]
        assert greys.tolist() == [40, 41, 42, 80, 81, 82, 83, 0, 1, 2, 3, 4]
        assert loader.skipped == []


def test_unreadable_pictures_are_counted_and_named(folder):
    for name in ("1.png", "2.png"):
        (folder / "bee" / name).write_bytes(b"\x89PNG broken")
    loader = BatchLoader(list_class_folders(folder), PREPROCESS, batch_size=4)
    labels = np.concatenate([batch.labels for batch in loader])
    assert labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]
    assert [image.path.name for image in loader.skipped] == ["1.png", "2.png"]
    lines = skipped_lines(loader.skipped, most=1)
    assert lines[0] == "warning: skipped 2 unreadable pictures" and "bee/1.png: not a readable" in lines[1]
    assert lines[2] == "  and 1 more"
    assert skipped_lines([]) == []


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"none of 1 pictures can be read; the first: a\.png: not a readable picture"):
        list(BatchLoader(list_images(tmp_path), PREPROCESS))


def test_bad_folders_are_named(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty: no pictures; known are \.apng \.avif \.bmp .* \.jfif \.jp2 "):
        list_images(empty)
    with pytest.raises(ValueError, match="empty: no class folders; lay the pictures out as"):
        list_class_folders(empty)
    (empty / "val").mkdir()
    with pytest.raises(ValueError, match=r"holds train and val, not classes; give one of them, such as .*val"):
        list_images(empty)
    (empty / "val" / "tench").mkdir()
    with pytest.raises(ValueError, match="no pictures in its 1 class folders"):
        list_class_folders(empty / "val")
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"0\.png: not a folder"):
        list_class_folders(folder / "cat" / "0.png")


def test_bad_numbers_are_refused(folder):
    images = list_class_folders(folder)
    with pytest.raises(ValueError, match="0 pictures are not allowed"):
        choose(images, 0)
    with pytest.raises(ValueError, match="batch_size 0 is not allowed"):
        BatchLoader(images, PREPROCESS, batch_size=0)
    with pytest.raises(ValueError, match="threads 0 is not allowed"):
        BatchLoader(images, PREPROCESS, threads=0)


CLASSES = [Label("n01", "tench"), Label("n02", "English springer"), Label("n03", "crane"), Label("n04", "crane")]


def test_folders_match_by_id_name_or_given_name():
    assert match_classes(["n02", "n01"], CLASSES, {}) == (1, 0)
    assert match_classes(["english_springer", "Tench"], CLASSES, {}) == (1, 0)
    assert match_classes(["7", "n04"], CLASSES, {"7": "tench"}) == (0, 3)


def test_unmatched_folders_are_named():
    with pytest.raises(ValueError, match=r"no class for folders dog, n09; the artefact has 4 classes: n01 \(tench\)"):
        match_classes(["n01", "dog", "n09"], CLASSES, {"n09": "church"})
    with pytest.raises(ValueError, match="several classes share the name of folder crane; name the folders by class"):
        match_classes(["crane"], CLASSES, {})
    with pytest.raises(ValueError, match="folders n01, tench match one class"):
        match_classes(["n01", "n02", "tench"], CLASSES, {})


def test_relabel_follows_the_match(folder):
    images = list_class_folders(folder)
    matched = images.relabel(
        match_classes(
            images.folders, [Label(str(i), n) for i, n in enumerate("xbca")], {"ant": "a", "bee": "b", "cat": "c"}
        )
    )
    assert matched.labels == (3,) * 3 + (1,) * 4 + (2,) * 5


def test_class_names_come_from_inside_or_beside(folder):
    assert read_class_names(folder) == {}
    (folder / "classes.json").write_text('{"ant": {"name": "an ant", "imagenet_index": 310}, "bee": "a bee"}')
    assert read_class_names(folder) == read_class_names(folder / "cat") == {"ant": "an ant", "bee": "a bee"}


@pytest.mark.parametrize(
    "text, message",
    [("{", "not valid JSON"), ("[]", "must map folder names to names"), ('{"ant": {"index": 1}}', "'ant' has no name")],
)
def test_damaged_class_names_are_refused(folder, text, message):
    (folder / "classes.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_class_names(folder)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference photographs are not here")
def test_reference_photographs_are_read():
    images = list_class_folders(SHARED / "val")
    names = read_class_names(SHARED / "val")
    assert len(images) == 2000 and len(names) == 10 and names["n03445777"] == "golf ball"
    assert match_classes(images.folders, [Label(name, name) for name in names.values()], names) == tuple(range(10))
    batch = next(iter(BatchLoader(choose(images, 10), Preprocess(resolution=32), batch_size=10)))
    assert batch.pixels.shape == (10, 32, 32, 3) and sorted(batch.labels) == list(range(10)) and batch.pixels.std() > 20
