"""Training, validation, calibration, verification, accuracy and classify read the same pixels, skip the same files."""

import re
import shutil

import numpy as np
import odd_pictures
import pytest
import tiny_training as tiny
from PIL import Image

from calibration.dataset import BatchLoader, list_class_folders, list_images
from calibration.preprocess import Preprocess, load_pixels, load_rgb, resize_and_crop, resize_shorter
from edge_vit.deployment.pictures import load_pictures
from edge_vit.training.data import Decoder, load_data
from edge_vit.training.folders import list_splits
from edge_vit.training.processes import Place
from edge_vit.training.validation import pixel_batches

RESOLUTION = 32
PREPROCESS = Preprocess(resolution=RESOLUTION)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's words on the damaged ones


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Every odd picture in one class of both splits, plain ones in another."""
    root = tmp_path_factory.mktemp("odd")
    for split in ("train", "val"):
        for name in ("odd", "plain"):
            (root / split / name).mkdir(parents=True)
        for name, write in odd_pictures.GOOD.items():
            write(root / split / "odd" / name)
        for i in range(2):
            odd_pictures.smooth().save(root / split / "plain" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def expected(data):
    """{name: pixels} as classify reads each picture."""
    return {path.name: load_pixels(path, PREPROCESS) for path in list_class_folders(data / "val").paths}


def load(data, *, is_kept=False, resolution=RESOLUTION, batch_size=2, place=None):
    return load_data(
        list_splits(data), Preprocess(resolution=resolution), batch_size, 1.0, 0, 0, is_kept, place or Place()
    )


def test_the_table_is_long_and_its_pictures_differ(expected):
    assert len(odd_pictures.GOOD) >= 27 and len(expected) == len(odd_pictures.GOOD) + 2
    assert expected["turned.png"].std() > 40 and expected["grey16.png"].std() > 40


def test_accuracy_calibration_and_verification_read_what_classify_reads(data, expected):
    images = list_class_folders(data / "val")
    for batch in BatchLoader(images, PREPROCESS, batch_size=7):
        for path, pixels in zip(batch.paths, batch.pixels, strict=True):
            np.testing.assert_array_equal(pixels, expected[path.name], err_msg=path.name)
    verified = load_pictures(list_images(data / "val"), PREPROCESS, 1000)
    assert not verified.skipped and len(verified.pixels) == len(expected)
    wanted = sorted(pixels.tobytes() for pixels in expected.values())
    assert sorted(pixels.tobytes() for pixels in verified.pixels) == wanted


@pytest.mark.parametrize("is_kept", [True, False])
def test_validation_reads_what_classify_reads(data, expected, is_kept):
    loaded = load(data, is_kept=is_kept)
    names = [path.name for path in loaded.val.images.paths]
    assert sorted(names) == sorted(expected)
    batches = list(pixel_batches(loaded.val.images, Preprocess(resolution=RESOLUTION), loaded.val.pixels, 2))
    for name, pixels in zip(names, np.concatenate([pixels for pixels, _ in batches]), strict=True):
        np.testing.assert_array_equal(pixels, expected[name], err_msg=name)
    assert np.concatenate([labels for _, labels in batches]).tolist() == [0] * (len(expected) - 2) + [1, 1]


@pytest.mark.parametrize("name", sorted(odd_pictures.GOOD))
def test_training_augments_what_classify_resizes(data, expected, name):
    path = data / "train" / "odd" / name
    decoder = Decoder(resolution=RESOLUTION)
    decoded = Image.fromarray(decoder(path).permute(1, 2, 0).numpy())
    whole = load_rgb(path, PREPROCESS.resize)
    if min(whole.size) <= decoder.side:
        np.testing.assert_array_equal(resize_and_crop(decoded, PREPROCESS), expected[name])
    assert name != "large.jpg" or min(whole.size) > decoder.side
    np.testing.assert_array_equal(decoded, resize_shorter(whole, min(*whole.size, decoder.side), "bicubic"))


@pytest.fixture
def with_bad_ones(tmp_path):
    """Tiny's two classes, with every bad picture in each class of each split."""
    root = tiny.write_pictures(tmp_path / "bad", num_train=4, num_val=2)
    for folder in root.glob("*/*"):
        for name, (write, _) in odd_pictures.BAD.items():
            write(folder / name)
    return root


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_bad_picture_is_skipped_named_and_counted_in_training_as_in_accuracy(with_bad_ones, capsys, is_kept):
    at_224 = Preprocess(resolution=224)
    for split in ("train", "val"):
        loader = BatchLoader(list_class_folders(with_bad_ones / split), at_224)
        num_good = sum(len(batch.labels) for batch in loader)
        assert num_good == (8 if split == "train" else 4)
        assert {image.path.name for image in loader.skipped} == set(odd_pictures.BAD)
        for image in loader.skipped:
            assert odd_pictures.BAD[image.path.name][1] in image.reason
    loaded = load(with_bad_ones, is_kept=is_kept, resolution=224)
    assert len(loaded.train.images) == 8 and len(loaded.val.images) == loaded.val.num_images == 4
    assert not {path.name for path in (*loaded.train.images.paths, *loaded.val.images.paths)} & set(odd_pictures.BAD)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count(f"warning: skipped {2 * len(odd_pictures.BAD)} unreadable pictures") == 2
    assert sum(line.startswith("  ") and "blue/" in line for line in lines) == 10, "the first five of each split"


def test_training_goes_on_as_if_bad_pictures_were_not_there(with_bad_ones, run, command, tmp_path):
    from edge_vit import train

    (with_bad_ones / "train" / "blue" / "long.png").unlink()  # small enough at this resolution
    flags = ["--epochs", 1, "--batch-size", 4, "--select-share", 0]  # which counts bad ones too
    skipped = run(tmp_path / "a", *flags, data=with_bad_ones)
    for path in with_bad_ones.glob("*/*/*"):
        if path.name in odd_pictures.BAD and path.name != "long.png":
            path.unlink()
    clean = run(tmp_path / "b", *flags, data=with_bad_ones)
    assert tiny.losses(skipped) == tiny.losses(clean) and len(tiny.losses(clean)) == 2
    assert train.main(command(tmp_path / "a", *flags, data=with_bad_ones)) == 2


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_class_without_a_readable_picture_is_refused(tmp_path, split, is_kept):
    root = tiny.write_pictures(tmp_path / "data", num_train=4, num_val=2)
    for path in (root / split / "red").iterdir():
        path.write_bytes(b"damaged")
    message = re.escape(f"{split}: class folder red holds no picture that can be read (0.png: not a readable picture (")
    with pytest.raises(ValueError, match=message):
        load(root, is_kept=is_kept)


def test_fewer_readable_pictures_than_a_batch_are_one_batch(tmp_path, capsys):
    root = tiny.write_pictures(tmp_path / "data", num_train=4, num_val=2)
    (root / "train" / "red" / "0.png").write_bytes(b"damaged")
    loaded = load(root, batch_size=8).train
    assert (loaded.batch_size, loaded.steps) == (7, 1) and len(next(loaded.batches(0))[1]) == 7
    assert "batches of 7, not 8: there are 7 pictures to learn from" in capsys.readouterr().err


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_picture_that_goes_away_is_one_line(pictures, tmp_path, num_workers):
    root = shutil.copytree(pictures, tmp_path / "data")
    loaded = load_data(list_splits(root), Preprocess(resolution=RESOLUTION), 8, 1.0, 0, num_workers, False, Place())
    (root / "train" / "red" / "3.png").unlink()
    (root / "val" / "blue" / "1.png").write_bytes(b"damaged")
    with pytest.raises(
        RuntimeError, match=r"^a picture that could be read before no longer can: .*red/3\.png: no such f"
    ):
        list(loaded.train.batches(0))
    with pytest.raises(
        RuntimeError, match=r"^a picture that could be read before no longer can: .*blue/1\.png: not a r"
    ):
        list(pixel_batches(loaded.val.images, Preprocess(resolution=RESOLUTION), loaded.val.pixels, 2))


def test_processes_share_the_validation_pictures(pictures):
    whole = load(pictures)
    parts = [load(pictures, place=Place(rank=rank, num_processes=3)) for rank in range(3)]
    assert [len(part.val.images) for part in parts] == [6, 5, 5] and {part.val.num_images for part in parts} == {16}
    together = sorted(path for part in parts for path in part.val.images.paths)
    assert together == sorted(whole.val.images.paths)
