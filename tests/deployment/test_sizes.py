"""A model that a .tflite cannot hold is refused at once, with what fits."""

import pytest
import torch

from edge_vit.deployment.request import ConvertConfig
from edge_vit.deployment.sizes import LARGE_VARIANTS, MAX_FILE_BYTES, check_size
from edge_vit.layers.fuse import fuse
from edge_vit.models.names import VARIANT_NAMES
from edge_vit.models.registry import create_model


def num_parameters(name, resolution=224):
    with torch.device("meta"), torch.no_grad():
        return sum(p.numel() for p in fuse(create_model(name, resolution=resolution)).parameters())


@pytest.mark.parametrize("name", LARGE_VARIANTS)
def test_what_is_known_of_large_variants_is_what_they_have(name):
    assert LARGE_VARIANTS[name] == num_parameters(name)
    assert 4 * LARGE_VARIANTS[name] > MAX_FILE_BYTES


@pytest.mark.parametrize("name", ["fastervit_3", "fastervit_4", "fastervit_4_any_res", "levit_384", "efficientvit_m5"])
def test_the_next_smaller_ones_fit(name):
    assert name in VARIANT_NAMES and name not in LARGE_VARIANTS
    check_size("tflite", name, num_parameters(name))


@pytest.mark.parametrize(("target", "precision"), [("tflite", "fp32"), ("tflite", "fp16"), ("all", "fp32")])
def test_a_float_file_is_refused_when_it_is_asked_for(target, precision):
    with pytest.raises(ValueError) as caught:
        ConvertConfig(model="fastervit_6", target=target, precision=precision)
    assert str(caught.value) == (
        "fastervit_6 is 5.3 GB of float32 numbers, and a .tflite holds 2.1 GB at most, --fp16 is made from one too; "
        "use --int8 (1.3 GB) or --target executorch"
    )


def test_an_onnx_file_has_the_same_limit():
    with pytest.raises(ValueError, match=r"and an \.onnx file holds 2\.1 GB at most, .*; use --int8 \(1\.3 GB\) or"):
        ConvertConfig(model="fastervit_6", target="onnx")


def test_what_fits_is_taken():
    ConvertConfig(model="fastervit_6", target="tflite", precision="int8")
    ConvertConfig(model="fastervit_6", target="executorch")
    ConvertConfig(model="fastervit_4", target="tflite")
    check_size("tflite", "any", MAX_FILE_BYTES // 4)


def test_tables_count_too():
    """fastervit_4_21k_768 has few parameters and large tables; beyond two gigabytes of integers no .tflite fits."""
    with pytest.raises(ValueError, match=r"is 5\.4 GB of float32 .*; use --int8 \(1\.4 GB\) or --target executorch$"):
        check_size("tflite", "fastervit_4_21k_768", 1_361_258_764)
    with pytest.raises(ValueError, match=r"; use --target executorch$"):
        check_size("tflite", "any", MAX_FILE_BYTES + 1)
