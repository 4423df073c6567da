"""What the app's classes make of a picture equals what Python makes of it, to the bit."""

import struct

import numpy as np
import pytest
from PIL import Image

from android_demo.apk import golden

# One for each way in which a model may want its input.
INPUTS = {
    "uint8_nhwc": {},
    "int8_nhwc": {
        "dtype": "int8", "value_range": (-128.0, 127.0), "shape": (1, 224, 224, 3), "resize": 256, "crop_pct": 0.875,
    },
    "float32_nchw": {
        "dtype": "float32", "layout": "NCHW", "shape": (1, 3, 48, 48), "resize": 53, "crop_pct": 0.9,
        "interpolation": "bilinear",
    },
    "float32_caller": {
        "dtype": "float32", "layout": "NCHW", "shape": (1, 3, 192, 192), "resize": 192, "normalization": "caller",
    },
    "float16_caller": {
        "dtype": "float16", "shape": (1, 33, 33, 3), "resize": 37, "crop_pct": 0.9, "normalization": "caller",
    },
    "float32_unit": {"dtype": "float32", "value_range": (-1.0, 1.0)},
}  # fmt: skip


def test_enough_pictures():
    assert len(golden.PICTURES) >= 20
    assert {entry[5] for entry in golden.PICTURES} >= set(range(1, 9))
    assert {entry[3] for entry in golden.PICTURES} == {"RGB", "RGBA", "L", "LA", "1", "P", "P+"}


@pytest.mark.parametrize("kind", INPUTS)
def test_bits_are_equal(kind, core_classes, make_model, tmp_path):
    artefact = make_model(**INPUTS[kind])
    vectors = golden.make(artefact, tmp_path / "pictures")
    found = golden.compare(["java"], [core_classes], artefact, vectors)
    assert found.failures == () and found.num_pictures == len(golden.PICTURES)


def test_very_tall_picture(core_classes, make_model, tmp_path):
    artefact = make_model()
    vectors = golden.make(artefact, tmp_path / "pictures", pictures=[("very_tall", 61, 297, "RGB", "png", 0)])
    assert golden.compare(["java"], [core_classes], artefact, vectors).failures == ()


def test_a_difference_is_found(core_classes, make_model, tmp_path):
    artefact = make_model()
    vectors = golden.make(artefact, tmp_path / "pictures")[:2]
    vectors[0].pixels[3, 4, 1] ^= 1
    vectors[1].inputs[0, 0, 0, 0] ^= 1
    found = golden.compare(["java"], [core_classes], artefact, vectors)
    assert found.failures == ("rgb_odd: 1 of 3072 pixel values differ", "rgb_tall: model inputs differ")


def test_classes_that_do_not_start_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"failed on the JVM after 0 of 1 requests: (?s:.*)ClassNotFoundException"):
        golden.ask(["java"], [tmp_path], [{"do": "states"}])


def test_long_and_narrow_picture_is_refused_as_in_python(core_classes, ask, make_model, tmp_path):
    artefact = make_model(resize=3000)
    (tmp_path / "rgba").write_bytes(bytes(4 * 60_000))
    request = {"do": "classify", "folder": str(artefact.parent), "model": artefact.name, "file": str(artefact)}
    request |= {"rgba": str(tmp_path / "rgba"), "width": 60_000, "height": 1}
    assert ask(request) == [{"error": "60000 x 1 pixels are too long and narrow; crop the picture first"}]


def exif(orientation, order="<", kind=3):
    body = struct.pack(order + "HHIHHI", 1, 0x0112, 0, 0, 0, 0)
    body = struct.pack(order + "H", 1) + struct.pack(order + "HHI", 0x0112, kind, 1)
    body += struct.pack(order + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + body


def jpeg(tiff):
    segment = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + b"\xff\xda\0\x02"


@pytest.mark.parametrize(
    "data, expected",
    [
        (jpeg(exif(6)), 6),
        (jpeg(exif(8, ">")), 8),
        (jpeg(exif(5, ">", 4)), 5),
        (jpeg(exif(6, "<", 2)), 1),  # a text where a number belongs
        (jpeg(exif(0)), 1),
        (jpeg(exif(9)), 1),
        (jpeg(exif(6)[:12]), 1),  # cut
        (jpeg(b"XX*\0"), 1),
        (b"\xff\xd8\xff\xe1\xff\xff", 1),
        (b"\xff\xd8", 1),
        (b"", 1),
        (b"GIF89a", 1),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 26) + b"eXIf" + exif(3), 3),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0xFFFFFFFF) + b"junk", 1),
        (b"RIFF\0\0\0\0WEBPEXIF" + struct.pack("<I", 32) + b"Exif\0\0" + exif(4), 4),
    ],
)  # fmt: skip
def test_orientation(data, expected, ask, tmp_path):
    (tmp_path / "picture").write_bytes(data)
    assert ask({"do": "orientation", "file": str(tmp_path / "picture")}) == [{"orientation": expected}]


def test_orientation_agrees_with_pillow_on_its_own_files(ask, tmp_path):
    paths = golden.draw(tmp_path)
    expected = []
    for path in paths:
        with Image.open(path) as image:
            way = image.getexif().get(golden.ORIENTATION_TAG, 1)
        expected.append({"orientation": way if 1 <= way <= 8 else 1})
    assert ask(*({"do": "orientation", "file": str(p)} for p in paths)) == expected


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_logits_of_every_type(dtype, ask, tmp_path):
    generator = np.random.default_rng(3)
    if dtype.startswith("float"):
        raw = generator.normal(0, 9, 40).astype(dtype)
        raw[:4] = [0.0, -0.0, 6e-8, 1e-5]
        expected = raw.astype(np.float32)
    else:
        limits = np.iinfo(dtype)
        raw = generator.integers(limits.min, limits.max + 1, 40).astype(dtype)
        expected = (raw.astype(np.float32) - 3) * np.float32(0.17)
    (tmp_path / "raw").write_bytes(raw.tobytes())
    (answer,) = ask({"do": "logits", "file": str(tmp_path / "raw"), "dtype": dtype, "scale": 0.17, "zero_point": 3})
    np.testing.assert_array_equal(np.float32(answer["logits"]), expected)
    assert [entry[0] for entry in answer["top"]] == np.argsort(-expected, kind="stable")[:3].tolist()


def test_equal_logits_keep_the_order_of_the_labels_and_large_ones_do_not_overflow(ask, tmp_path):
    (tmp_path / "raw").write_bytes(np.float32([1000, 1000, -1000, 1000]).tobytes())
    (answer,) = ask({"do": "logits", "file": str(tmp_path / "raw"), "dtype": "float32", "scale": 1, "zero_point": 0})
    assert [entry[0] for entry in answer["top"]] == [0, 1, 3]
    assert answer["top"][0][2] == pytest.approx(1 / 3)


def test_probabilities_are_shown_as_they_are(ask, tmp_path):
    (tmp_path / "raw").write_bytes(np.float32([0.125, 0.75, 0.0, 0.125]).tobytes())
    request = {"do": "logits", "file": str(tmp_path / "raw"), "dtype": "float32", "scale": 1, "zero_point": 0}
    (answer,) = ask(request | {"are_probabilities": True})
    assert [(entry[0], entry[2]) for entry in answer["top"]] == [(1, 0.75), (0, 0.125), (3, 0.125)]


@pytest.mark.parametrize("value, shown", [(np.nan, "NaN"), (np.inf, "Infinity")])
def test_an_output_that_is_no_number_is_refused(value, shown, ask, tmp_path):
    (tmp_path / "raw").write_bytes(np.float32([1, value]).tobytes())
    (answer,) = ask({"do": "logits", "file": str(tmp_path / "raw"), "dtype": "float32", "scale": 1, "zero_point": 0})
    assert answer == {"error": f"the model put out {shown} instead of a number; convert it again"}
