"""Lists of pictures and labels in place of folders: as people's tools write them, and what is wrong with some."""

import json

import pytest
from PIL import Image

from calibration.lists import list_labelled, read_list, write_list
from calibration.paths import is_list


@pytest.fixture
def root(tmp_path):
    for name in ("a b.png", "b.png", "c.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na b.png,cat\nb.png,dog\n",
        "\ufeffPath;Label\r\na b.png;cat\r\nb.png;dog\r\n",
        "label\tpath\tother\ncat\ta b.png\tx\n\ndog\tb.png\ty\n",
        'path,label\n"a b.png",cat\n b.png , dog \n',
    ],
)
def test_csv_as_tools_write_it(root, text):
    images = list_labelled(write(root / "list.csv", text))
    assert images.folders == ("cat", "dog") and images.labels == (0, 1)
    assert list(images.paths) == [root / "a b.png", root / "b.png"]


def test_json_lines(root):
    lines = [{"path": str(root / "b.png"), "label": "x"}, {"path": "c.png", "label": 7, "split": "val"}]
    lines[0]["split"] = "train"
    splits = read_list(write(root / "list.jsonl", "\n\n".join(map(json.dumps, lines))))
    assert {name: list(images.paths) for name, images in splits.items()} == {
        "train": [root / "b.png"], "val": [root / "c.png"],
    }  # fmt: skip
    assert splits["val"].folders == ("7", "x") and splits["val"].labels == (0,)


def test_what_is_written_is_read(root):
    images = list_labelled(write(root / "list.csv", "path,label\na b.png,cat\nb.png,dog\n"))
    write_list(root / "again.csv", {"val": images, "train": images.take([1])})
    again = read_list(root / "again.csv")
    assert list(again["val"].paths) == list(images.paths) and again["val"].labels == images.labels
    assert list_labelled(root / "again.csv") == again["val"] and list(again["train"].paths) == [root / "b.png"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "", "l.csv: its first line is ''; name the columns path,label"),
        ("l.csv", "path,label\n", "l.csv: lists no pictures"),
        ("l.csv", "file,class\nb.png,x\n", "l.csv: its first line is 'file,class'; name the columns path,label"),
        ("l.csv", "path,label\nb.png,\n", "l.csv line 2: has no label"),
        ("l.csv", "path,label\n,x\n", "l.csv line 2: has no path"),
        (
            "l.csv",
            "path,label\nb.png,x\nd.png,y\n",
            "l.csv: 1 of 2 pictures do not exist (d.png); write paths as seen f",
        ),
        ("l.csv", "path,label\nb.png,Cat\nc.png,cat\n", "labels Cat and cat differ in case alone"),
        ("l.csv", "path,label,split\nb.png,x,val\nc.png,y,\n", "some lines name a split and some do not"),
        ("l.csv", b"path,label\nb.png,\xff\xfe\n", "cannot be read as a list"),
        ("l.jsonl", "", "l.jsonl: lists no pictures"),
        ("l.jsonl", "{]", "l.jsonl line 1: not valid JSON"),
        ("l.jsonl", "[1]", "l.jsonl line 1: must be an object such as"),
        ("l.jsonl", '{"path": "b.png"}', "l.jsonl line 1: has no label"),
    ],
)
def test_bad_lists_are_one_line(root, name, text, message):
    with pytest.raises(ValueError) as caught:
        list_labelled(write(root / name, text))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_split_that_is_not_there(root):
    path = write(root / "l.csv", "path,label,split\nb.png,x,train\n")
    with pytest.raises(ValueError, match="has no pictures of split 'val'; its splits are train"):
        list_labelled(path)
    with pytest.raises(ValueError, match=r"gone\.csv: no such list of pictures"):
        list_labelled(root / "gone.csv")


def test_a_folder_may_end_like_a_list(root):
    (root / "data.csv" / "cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "data.csv" / "cat" / "a.png")
    assert not is_list(root / "data.csv") and list_labelled(root / "data.csv").folders == ("cat",)
