"""Names, near misses, and what a created model promises."""

import pytest
import torch

import edge_vit
from edge_vit.models.registry import create_model, get_spec, list_models


def test_unknown_name_gets_near_matches():
    with pytest.raises(ValueError, match="unknown model 'levit_129s'; did you mean levit_128s or") as caught:
        create_model("levit_129s")
    assert "python -m edge_vit.models" in str(caught.value)
    with pytest.raises(ValueError, match=r"choose from levit_128s, levit_128, "):
        get_spec("xyzzy")


def test_package_offers_the_same_functions():
    assert edge_vit.list_models() == list_models()
    assert edge_vit.create_model is create_model


@torch.no_grad()
def test_classes_and_resolution():
    model = create_model("levit_128s", num_classes=3, resolution=64).eval()
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert model.variant == "levit_128s" and model.config.resolution == 64
