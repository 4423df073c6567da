"""The header is read as the format's own library reads it, and every damage is named before torch is loaded."""

import json
import random

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from edge_vit.models.checkpoint_io import Checkpoint
from edge_vit.models.safetensors_header import read_header

DTYPES = (
    torch.bool, torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2, torch.int16, torch.uint16,
    torch.float16, torch.bfloat16, torch.int32, torch.uint32, torch.float32, torch.int64, torch.uint64, torch.float64,
)  # fmt: skip


def test_every_type_and_shape_is_read_as_the_library_reads_it(tmp_path):
    torch.manual_seed(0)
    tensors = {}
    for i, dtype in enumerate(DTYPES):
        for shape in ((), (0,), (3,), (2, 0, 4), (5, 1, 2)):
            value = torch.randint(0, 2 if dtype == torch.bool else 100, shape).to(dtype)
            tensors[f"{i}.{len(shape)}.{value.numel()}"] = value
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(tensors, metadata={"format": "pt"}))
    got = Checkpoint(path)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == got.tensors.keys()
        for name in file.keys():  # noqa: SIM118
            want = file.get_tensor(name)
            assert got.tensors[name].dtype == want.dtype and got.tensors[name].shape == want.shape
            assert torch.equal(got.tensors[name].view(torch.uint8), want.view(torch.uint8)) if want.dim() else True
            assert str(got.tensors[name].tolist()) == str(want.tolist())


def content(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


DAMAGED = {
    "too short": (b"1234", "its 4 bytes are fewer than its header needs"),
    "header longer than the file": (content({"a": entry()})[:30], "fewer than its header needs"),
    "absurd length": (b"\xff" * 8 + b"{}", "fewer than its header needs"),
    "no JSON": (content(b"{"), "its header is no JSON"),
    "no text": (content(b"\xff\xfe"), "its header is no JSON"),
    "deep JSON": (content(b"[" * 100_000), "its header is no JSON"),
    "a list": (content([]), "its header is no JSON object"),
    "metadata that is none": (content({"__metadata__": 3}), "its metadata is no JSON object"),
    "entry that is none": (content({"a": 3}), "its header does not describe a"),
    "no offsets": (content({"a": {"dtype": "F32", "shape": [2]}}), "its header does not describe a"),
    "unknown type": (content({"a": entry(dtype="F128")}, bytes(8)), "its header describes a wrongly"),
    "size that differs": (content({"a": entry(shape=[3])}, bytes(8)), "its header describes a wrongly"),
    "negative size": (content({"a": entry(shape=[-2], data_offsets=[8, 0])}, bytes(8)), "describes a wrongly"),
    "a number for a shape": (content({"a": entry(shape=[True, 2])}, bytes(8)), "describes a wrongly"),
    "cut off": (content({"a": entry()}, bytes(7)), "a ends beyond its"),
    "a gap": (content({"a": entry(data_offsets=[4, 12])}, bytes(12)), "the bytes of a do not follow"),
    "an overlap": (
        content({"a": entry(), "b": entry(data_offsets=[4, 12])}, bytes(12)),
        "the bytes of b do not follow",
    ),
    "bytes left over": (content({"a": entry()}, bytes(9)), "its header describes"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_named(kind, tmp_path):
    data, message = DAMAGED[kind]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        Checkpoint(path)
    assert str(caught.value).startswith(f"checkpoint {path} is truncated or no safetensors file (")
    assert "\n" not in str(caught.value) and str(caught.value).endswith("; get it again")


def test_what_the_library_refuses_is_refused(tmp_path):
    """Random damage to a header: whatever opens here opens there, with the same tensors."""
    whole = save({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.int8)})
    rng, path = random.Random(0), tmp_path / "x.safetensors"
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(whole) - 28)] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_header(bytes(data))
        except ValueError:
            refused += 1
            continue
        try:
            safe_open(path, framework="pt").__enter__()
        except SafetensorError as e:
            pytest.fail(f"{e}: {bytes(data)!r}")
    assert 200 < refused < 400
