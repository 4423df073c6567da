"""Both splits hold the same classes, each with pictures; what a run was trained on is remembered by a fingerprint."""

import os

import pytest
from PIL import Image

from calibration.lists import write_list
from edge_vit.training.folders import check_same_classes, fingerprint, fitting_batch, imbalance, list_splits


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
        ("val", "wasp", "only train has bee; only val has wasp; give both the same classes"),
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


def test_a_batch_is_no_larger_than_what_there_is():
    assert fitting_batch(64, 32, 2) == 32 and fitting_batch(32, 64, 1) == 32 and fitting_batch(63, 32, 2) == 31
    with pytest.raises(ValueError, match="1 training images are too few; add pictures"):
        fitting_batch(1, 2, 1)
    with pytest.raises(ValueError, match="3 training images are too few for 2 processes; add pictures"):
        fitting_batch(3, 2, 2)


@pytest.fixture
def whole(tmp_path):
    """One folder: 20 pictures of ants, 10 of bees, 2 of cats."""
    root = tmp_path / "whole"
    for name, count in (("ant", 20), ("bee", 10), ("cat", 2)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (4, 4), "red").save(root / name / f"{i:02}.png")
    return root


def counts(images):
    return [images.labels.count(label) for label in range(len(images.folders))]


def test_one_folder_is_divided_class_by_class(whole):
    splits = list_splits(whole, select_share=0.1, seed=3)
    assert splits.is_drawn and splits.classes[2] == {"id": "cat", "name": "cat"}
    assert counts(splits.val) == [2, 1, 1], "a tenth, and at least one"
    assert counts(splits.select) == [2, 1, 0], "a class with few pictures keeps them to learn from"
    assert counts(splits.train) == [16, 8, 1]
    parts = [set(images.paths.names()) for images in (splits.train, splits.select, splits.val)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 32
    again = list_splits(whole, select_share=0.1, seed=3)
    assert (again.val, again.select) == (splits.val, splits.select)
    assert list_splits(whole, select_share=0.1, seed=4).val != splits.val
    assert counts(list_splits(whole, val_share=0.5).val) == [10, 5, 1]


def test_a_new_picture_moves_few_others(whole):
    before = list_splits(whole).val
    Image.new("RGB", (4, 4), "red").save(whole / "ant" / "new.png")
    after = list_splits(whole).val
    assert len(set(before.paths.names()) - set(after.paths.names())) <= 1


def test_classes_that_are_uneven_are_said(whole, data):
    assert imbalance(list_splits(whole)) == (
        "classes are uneven: ant has 18 pictures to learn from, cat 1; --balanced draws from each as often"
    )
    assert imbalance(list_splits(data)) == ""


def test_the_split_that_is_kept_is_the_split_that_is_read(whole, tmp_path):
    splits = list_splits(whole, select_share=0.1)
    parts = {"train": splits.train, "select": splits.select, "val": splits.val}
    write_list(tmp_path / "pictures.csv", parts)
    again = list_splits(tmp_path / "pictures.csv", select_share=0.5)
    assert not again.is_drawn and again.classes == splits.classes
    for name, images in parts.items():
        assert list(getattr(again, name).paths) == list(images.paths) and getattr(again, name).labels == images.labels


def test_bad_folders_and_shares_are_named(whole, data):
    for picture in list((whole / "cat").iterdir())[1:]:
        picture.unlink()
    with pytest.raises(ValueError, match="class cat has one picture; a class needs two, to learn from and to judge by"):
        list_splits(whole)
    (whole / "cat").rename(whole / "ANT")
    with pytest.raises(ValueError, match="class folders ANT and ant differ in case alone; merge them, or rename one"):
        list_splits(whole)
    with pytest.raises(ValueError, match=r"--val-share divides one folder or list; .* has pictures to judge by of its"):
        list_splits(data, val_share=0.2)
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        list_splits(data / "nowhere")
    with pytest.raises(ValueError, match=r"neither a folder nor a \.csv or \.jsonl list"):
        list_splits(data / "train" / "ant" / "0.png")


def test_a_list_without_a_split_lacks_what_it_lacks(data):
    path = data / "list.csv"
    path.write_text("path,label,split\ntrain/ant/0.png,ant,train\ntrain/bee/0.png,bee,train\nval/ant/0.png,ant,val\n")
    with pytest.raises(
        ValueError, match=r"the classes of split train of .* and split val of .* differ: only train has b"
    ):
        list_splits(path)
    path.write_text("path,label,split\ntrain/ant/0.png,ant,train\ntrain/bee/0.png,bee,test\n")
    with pytest.raises(ValueError, match=r"list\.csv: its splits are test, train; training needs train and val"):
        list_splits(path)


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
    assert before.keys() == {"classes", "train", "select", "val"}
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
