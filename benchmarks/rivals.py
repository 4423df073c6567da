"""The networks that ours are compared with in cost, for `edge_vit.convert rivals.py:NAME`; random weights.

EfficientNet-B2 and MobileNetV3-Large come from pytorchcv 0.0.74, EfficientNet-Lite0 from efficientnet-lite-pytorch
0.1.0, both fetched by name into the cache and installed nowhere, MobileViT-XXS from transformers, which litert-torch
brings.
"""

import sys
from pathlib import Path
from typing import Any

from converters.cache import cache_folder
from edge_vit.devices import packages

PYTORCHCV, LITE = "pytorchcv==0.0.74", "efficientnet-lite-pytorch==0.1.0"


def efficientnet_b2() -> dict[str, Any]:
    """At 260 pixels, the size that it was made for."""
    _find(PYTORCHCV)
    from pytorchcv.models.efficientnet import efficientnet_b2

    return _described(efficientnet_b2(in_size=(260, 260)), 260)


def efficientnet_lite0() -> dict[str, Any]:
    _find(LITE)
    from efficientnet_lite_pytorch import EfficientNet

    return _described(EfficientNet.from_name("efficientnet-lite0"), 224)


def mobilenetv3_large() -> dict[str, Any]:
    _find(PYTORCHCV)
    from pytorchcv.models.mobilenetv3 import mobilenetv3_large_w1

    return _described(mobilenetv3_large_w1(), 224)


def mobilevit_xxs() -> dict[str, Any]:
    """At 256 pixels; the sizes are those of the published model's configuration."""
    from transformers import MobileViTConfig, MobileViTForImageClassification

    config = MobileViTConfig(
        hidden_sizes=[64, 80, 96], neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320], expand_ratio=2.0, num_labels=1000
    )
    return _described(MobileViTForImageClassification(config), 256)


def _described(module: Any, resolution: int) -> dict[str, Any]:
    """Return a network whose random weights keep the size of what passes through, so that its logits say something."""
    sys.path.append(str(Path(__file__).parent))  # convert imports this file alone
    from own_networks import randomize_

    randomize_(module, resolution)
    return {"module": module, "resolution": resolution}


def _find(requirement: str) -> None:
    folder = packages.fetch_wheel(cache_folder() / requirement.replace("==", "-"), requirement)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
