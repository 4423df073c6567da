"""Names, near misses, and what a created model promises."""

import dataclasses

import pytest
import torch

import edge_vit
from edge_vit.models.levit import LEVIT_VARIANTS
from edge_vit.models.names import VARIANT_NAMES, check_resolution, size_of
from edge_vit.models.registry import create_model, get_spec, image_size, list_models, merge_variants


def test_unknown_name_gets_near_matches():
    with pytest.raises(ValueError, match="unknown model 'levit_129s'; did you mean levit_128s or") as caught:
        create_model("levit_129s")
    assert "python -m edge_vit.models" in str(caught.value)
    with pytest.raises(ValueError, match=r"choose from levit_128s, levit_128, "):
        get_spec("xyzzy")


def test_the_names_that_need_no_torch_are_those_of_the_registry():
    assert list(VARIANT_NAMES) == list_models()


@pytest.mark.parametrize("name", VARIANT_NAMES)
def test_the_resolutions_that_need_no_torch_are_those_of_the_config(name):
    config = get_spec(name).config

    def said(check, *args, **kwargs):
        try:
            check(*args, **kwargs)
        except ValueError as e:
            return str(e)
        return "taken"

    for side in (0, 32, 48, 63, 64, 80, 96, 100, 224, 240, 384):
        assert said(check_resolution, name, side) == said(dataclasses.replace, config, resolution=side)


def test_package_offers_the_same_functions():
    assert edge_vit.list_models() == list_models()
    assert edge_vit.create_model is create_model


@torch.no_grad()
def test_classes_and_resolution():
    model = create_model("levit_128s", num_classes=3, resolution=64).eval()
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert model.variant == "levit_128s" and model.config.resolution == 64


def test_one_name_in_two_families_is_refused():
    known = {"build": None, "remap": None}
    families = [(LEVIT_VARIANTS, {"family": "levit", **known}), ({"levit_192": None}, {"family": "other", **known})]
    with pytest.raises(ValueError, match="variant 'levit_192' is defined twice, in levit and other"):
        merge_variants(families)


@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0", "fastervit_0_any_res", "fastervit_4_21k_384"])
def test_rectangles(name):
    check_resolution(name, (192, 384))
    with torch.device("meta"):
        model = create_model(name, resolution=(192, 384)).eval()
        assert image_size(model) == (192, 384)
        assert model(torch.zeros(2, 3, 192, 384)).shape == (2, 1000)
        maps = create_model(name, resolution=(192, 384), features_only=True).eval()
        for info, found in zip(maps.feature_info, maps(torch.zeros(1, 3, 192, 384)), strict=True):
            assert found.shape == (1, info.channels, -(-192 // info.stride), -(-384 // info.stride))


@pytest.mark.parametrize("name", ["fastervit_0", "fastervit_edge_0"])
def test_windows_of_a_square_take_no_rectangle(name):
    for refuse in (check_resolution, lambda name, size: create_model(name, resolution=size)):
        with pytest.raises(ValueError, match=r"resolution \(192, 384\) is no square"):
            refuse(name, (192, 384))


def test_sizes_are_read():
    assert [size_of(text) for text in ("224", "224x224", "576x960", "0")] == [224, 224, (576, 960), 0]


def test_a_variant_has_its_own_resolution():
    with torch.device("meta"):
        names = ("levit_128s", "fastervit_4_21k_384", "fastervit_0_any_res")
        sizes = [image_size(create_model(name)) for name in names]
    assert sizes == [(224, 224), (384, 384), (576, 960)]
