"""A network that is none of ours, as a user writes one; tests name it tests/users_networks.py:small."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class Small(nn.Module):
    """A convolutional stem, one transformer block, a head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU(inplace=True),
            nn.Conv2d(16, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.Hardswish(),
        )  # fmt: skip
        self.norm, self.attn = nn.LayerNorm(32), Attention(32, 2)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.attn(self.norm(x))
        x = x + self.mlp(x)
        return self.head(x.mean(1))


def small(num_classes: int = 10) -> nn.Module:
    return Small(num_classes)


def described() -> dict[str, object]:
    return {
        "module": Small(3), "classes": ["cat", "dog", {"id": "n1", "name": "bird"}], "mean": [0.5] * 3,
        "std": [0.25] * 3, "resolution": 32, "crop_pct": 0.9, "interpolation": "bilinear",
    }  # fmt: skip


def no_network() -> int:
    return 3


def no_picture() -> nn.Module:
    return nn.Linear(7, 2)


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:  # what torch.export cannot follow
            x = x * 2
        return x.mean((2, 3))


def deciding() -> nn.Module:
    return Deciding()


def map_only() -> nn.Module:
    return nn.Conv2d(3, 4, 1)


def failing() -> nn.Module:
    raise KeyError("weights.bin")


class Answering(nn.Module):
    """It answers as transformers' networks do, an object with logits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Small(4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": torch.zeros(1), "logits": self.net(x)}


def answering() -> nn.Module:
    return Answering()


class Odd(nn.Module):
    """It computes what no runtime here computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.special.i0(self.conv(x))
        return self.head(x.mean((2, 3)))


def odd() -> nn.Module:
    return Odd()


def five() -> dict[str, object]:
    """A network that knows what it knows: it takes no number of classes."""
    return {"module": Small(5), "classes": ["cat", "0", "dog", {"id": "n1", "name": "1"}, "bird"], "resolution": 32}
