"""Each converter's failures leave nothing behind and say what to do; those that need no long lowering."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edge_vit.deployment.targets import TARGETS, Request

pytestmark = [
    pytest.mark.needs_tflite,
    pytest.mark.needs_executorch,
    pytest.mark.needs_coreml,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),  # inside the SDKs
]
PACKAGES = {"converters.tflite.lower": "litert_torch", "converters.executorch.lower": "executorch.exir",
            "converters.coreml.lower": "coremltools", "converters.onnx.lower": "onnxscript"}  # fmt: skip
BACKENDS = [
    pytest.param(backend, marks=pytest.mark.needs_onnx if backend[0] == "onnx" else (), id=backend[0])
    for backend, spec in TARGETS.items()
    if spec.module in PACKAGES
]


class Eigenvalues(nn.Module):
    """An operator that no runtime on a phone has."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x[..., 0])


def convert(backend: tuple[str, str], model: nn.Module, folder: Path) -> None:
    spec = TARGETS[backend]
    options = spec.options(Request(precision="fp32"))
    example = (torch.zeros(1, 4, 4, 3),)
    importlib.import_module(spec.module).convert(model, example, folder / f"m{spec.suffix}", options=options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_package_names_the_extra(
    backend: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[TARGETS[backend].module], None)
    with pytest.raises(ImportError, match=rf"is not installed .*pip install 'edge_vit\[{backend[0]}\]'"):
        convert(backend, nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval(), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_operator_is_named(backend: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no lowering for this model: .*eig"):
        convert(backend, Eigenvalues().eval(), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_mode_is_refused(backend: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the model is in training mode; call eval\(\) and fuse\(\) first"):
        convert(backend, nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).train(), tmp_path)
    assert not any(tmp_path.iterdir())
