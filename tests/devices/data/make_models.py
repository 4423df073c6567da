"""Make tiny_fp32.tflite and tiny_int8.tflite, the models that the tests of the measuring instrument run.

One convolution, depthwise convolution, hardswish, attention-like pair of matrix products, softmax, mean and linear
layer: XNNPACK takes all of the float one and leaves some of the int8 one to LiteRT's own kernels. Random weights.
Run: python tests/devices/data/make_models.py
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

FOLDER = Path(__file__).parent


class Tiny(torch.nn.Module):
    """A few operators of each kind that the instrument must tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 3, 2, 1)
        self.conv = torch.nn.Conv2d(16, 32, 3, 2, 1)
        self.depthwise = torch.nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.head = torch.nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(functional.hardswish(self.stem(x))))
        tokens = self.depthwise(x).flatten(2)  # (B, C, H, W) -> (B, C, N)
        attention = torch.softmax(tokens.transpose(1, 2) @ tokens / 6, -1)
        return self.head((tokens @ attention.transpose(1, 2)).mean(-1))


def main() -> None:
    """Write both models beside this file."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    torch.manual_seed(0)
    float_path = FOLDER / "tiny_fp32.tflite"
    litert_torch.convert(Tiny().eval(), (torch.randn(1, 3, 32, 32),)).export(str(float_path))
    quantize = quantizer.Quantizer(str(float_path))
    quantize.load_quantization_recipe(recipe.static_wi8_ai8())
    generator = np.random.default_rng(0)
    samples = [{"args_0": generator.standard_normal((1, 3, 32, 32)).astype(np.float32)} for _ in range(4)]
    ranges = quantize.calibrate({"serving_default": samples})
    quantize.quantize(ranges).export_model(str(FOLDER / "tiny_int8.tflite"), overwrite=True)


if __name__ == "__main__":
    main()
