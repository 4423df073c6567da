"""Networks of the usual kinds, and coremltools' own way from them to a package."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn


class TransformerLike(nn.Module):
    """A small encoder: patches, class token, positions, LayerNorm, four-axis attention, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 32))
        self.position = nn.Parameter(torch.randn(1, 65, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), nn.GELU(approximate="tanh"))
        self.head = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        q, k, v = self.qkv(self.norms[0](x)).reshape(1, 65, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * 8**-0.5, -1)
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norms[1](x))
        return self.head(self.norms[2](x)[:, 0])


def _randomise(model: nn.Module) -> nn.Module:
    """Give norms statistics that are not the identity, so that a swapped mean and variance would show."""
    generator = torch.Generator().manual_seed(0)
    norms = nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm
    for module in (m for m in model.modules() if isinstance(m, norms)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            if isinstance(value := getattr(module, name, None), Tensor):
                value.data.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def _to_package(
    model: nn.Module, path: Path, shape: tuple[int, ...], precision: str = "fp32", **options: object
) -> Path:
    """Write a model of arrays as coremltools does by itself."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct

        program = torch.export.export(model, (torch.zeros(shape),)).run_decompositions({})
        precisions = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}
        options = {"minimum_deployment_target": ct.target.iOS17, "compute_precision": precisions[precision]} | options
        ct.convert(program, skip_model_load=True, **options).save(str(path))
    return path


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """Return a network, (1, 3, 64, 64) -> (1, 7), and its package, which nobody may change."""
    torch.manual_seed(0)
    model = _randomise(TransformerLike())
    return model, _to_package(model, tmp_path_factory.mktemp("mil") / "t.mlpackage", (1, 3, 64, 64))


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    return _randomise


@pytest.fixture
def to_package() -> Callable[..., Path]:
    return _to_package
