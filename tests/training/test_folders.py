"""Both splits hold the same classes, each with pictures; what a run was trained on is remembered by a fingerprint."""

import os

import pytest
from PIL import Image

from edge_vit.training.folders import check_batches, check_same_classes, fingerprint, list_splits


@pytest.fixture
def data(tmp_path):
    """Three classes, two pictures each to learn from, one to judge by."""
    for split, count in (("train", 2), ("val", 1)):
        for name in ("ant", "bee", "cat"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (4, 4), "red").save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def move(data, split, name, new_name):
    (data / split / name).rename(data / split / new_name)


def test_splits_share_their_classes(data):
    (data / "classes.json").write_text('\ufeff{"ant": "an ant"}', encoding="utf-8")
    splits = list_splits(data)
    assert splits.train.folders == splits.val.folders == ("ant", "bee", "cat")
    assert splits.train.labels == (0, 0, 1, 1, 2, 2) and splits.val.labels == (0, 1, 2)
    assert splits.classes[0] == {"id": "ant", "name": "an ant"} and splits.classes[1] == {"id": "bee", "name": "bee"}


@pytest.mark.parametrize(
    ("split", "new_name", "message"),
    [
        ("val", "wasp", "only train has bee; only val has wasp; give both the same class folders"),
        ("train", "wasp", "only train has wasp; only val has bee"),
        ("val", ".bee", "only train has bee; give"),
    ],
)
def test_different_classes_are_named(data, split, new_name, message):
    move(data, split, "bee", new_name)
    with pytest.raises(ValueError, match=rf"the classes of .*train and .*val differ: {message}"):
        list_splits(data)


def test_an_empty_class_is_refused_with_advice_that_helps(data):
    for split in ("train", "val"):
        for picture in (data / split / "bee").iterdir():
            picture.unlink()
    with pytest.raises(
        ValueError, match=r"class folder bee holds no pictures; .*remove the class from both train and v"
    ):
        list_splits(data)
    for split in ("train", "val"):
        (data / split / "bee").rmdir()
    assert list_splits(data).train.folders == ("ant", "cat")


def test_one_class_is_refused(data):
    for split in ("train", "val"):
        for name in ("bee", "cat"):
            move(data, split, name, f".{name}")
    with pytest.raises(ValueError, match="train has one class, ant; training needs two classes or more"):
        list_splits(data)


def test_linked_folders_and_rarer_suffixes_are_listed(data, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "more"
    elsewhere.mkdir()
    for name, kind in (("a.avif", "AVIF"), ("b.jfif", "JPEG"), ("c.JPE", "JPEG")):
        Image.new("RGB", (16, 16), "blue").save(elsewhere / name, format=kind)
    os.symlink(elsewhere, data / "train" / "ant" / "linked")
    os.symlink(data / "train" / "ant", elsewhere / "back")  # a circle
    names = list(list_splits(data).train.paths.names())
    assert names[:5] == ["ant/0.png", "ant/1.png", "ant/linked/a.avif", "ant/linked/b.jfif", "ant/linked/c.JPE"]
    assert len(names) == 9


def test_too_few_pictures_for_a_batch():
    check_batches(64, 32, 2)
    with pytest.raises(ValueError, match="32 training images are fewer than one batch; use --batch-size 32 or less"):
        check_batches(32, 64, 1)
    with pytest.raises(ValueError, match=r"63 training images .* for each of 2 processes; use --batch-size 31 or less"):
        check_batches(63, 32, 2)
    with pytest.raises(ValueError, match="3 training images are too few for 2 processes; add pictures"):
        check_batches(3, 2, 2)


def renamed_class(data):
    for split in ("train", "val"):
        move(data, split, "bee", "wasp")


def renamed_picture(data):
    (data / "train" / "ant" / "1.png").rename(data / "train" / "ant" / "2.png")


def changed_picture(data):
    Image.new("RGB", (9, 9), "blue").save(data / "val" / "cat" / "0.png")


def moved_picture(data):
    (data / "train" / "ant" / "1.png").rename(data / "train" / "bee" / "2.png")


def renamed_in_the_list(data):
    (data / "classes.json").write_text('{"bee": "a bee"}')


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (renamed_class, {"classes", "train", "val"}),
        (renamed_picture, {"train"}),
        (changed_picture, {"val"}),
        (moved_picture, {"train"}),
        (renamed_in_the_list, {"classes"}),
        (lambda data: None, set()),
    ],
)
def test_the_fingerprint_tells_what_changed(data, change, expected):
    before = fingerprint(list_splits(data))
    change(data)
    after = fingerprint(list_splits(data))
    assert {key for key in before if before[key] != after[key]} == expected


def test_the_fingerprint_does_not_depend_on_the_place(data, tmp_path_factory):
    before = fingerprint(list_splits(data))
    moved = tmp_path_factory.mktemp("moved") / "data"
    data.rename(moved)
    assert fingerprint(list_splits(moved)) == before


def entries(*names):
    return [{"id": name, "name": f"the {name}"} for name in names]


def test_a_checkpoint_must_have_the_same_classes(data):
    splits = list_splits(data)
    check_same_classes(splits, entries("ant", "bee", "cat"), "float.safetensors")
    check_same_classes(splits, [{"id": str(i), "name": n} for i, n in enumerate(("Ant", "Bee", "Cat"))], "by name")
    with pytest.raises(ValueError, match=r"x has 2 classes, .*train has 3; train the float model on this data first"):
        check_same_classes(splits, entries("ant", "bee"), "x")
    with pytest.raises(
        ValueError, match=r"x was trained for other classes than .*: no class for folder bee; the checkp"
    ):
        check_same_classes(splits, entries("ant", "wasp", "cat"), "x")
    with pytest.raises(ValueError, match=r"x has the classes of .* in another order; name folders by class id"):
        check_same_classes(splits, entries("bee", "ant", "cat"), "x")
