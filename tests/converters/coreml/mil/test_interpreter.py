"""The interpreter against torch, on networks that coremltools converted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edge_vit
from converters.coreml.mil import interpreter
from converters.coreml.mil.interpreter import load
from converters.coreml.mil.operators import OPERATORS

pytestmark = pytest.mark.needs_coreml
TOLERANCE = 1e-4  # of the largest output
Shape = tuple[int, ...]
Writer = Callable[..., Path]


class ResNetLike(nn.Module):
    """Residual convolutions with batch norm, max pool and global average pool."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 16, 7, 2, 3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1))
        self.short = nn.Conv2d(16, 24, 1, 2)
        self.head = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.body(x) + self.short(x))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class MobileNetLike(nn.Module):
    """Inverted residuals, depthwise convolutions, squeeze and excitation, ReLU6, Hardswish and SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(8, 32, 1), nn.BatchNorm2d(32), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(32, 32, 5, 1, 2, groups=32), nn.SiLU(), nn.AvgPool2d(3, 1, 1))
        self.squeeze = nn.Sequential(nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.Hardsigmoid())
        self.project = nn.Conv2d(32, 8, 1)
        self.head = nn.Linear(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(self.expand(x))
        y = self.project(y * self.squeeze(y.mean((2, 3), keepdim=True)))
        return self.head((x + y.clamp(-2, 2)).mean((2, 3)))


class PyramidLike(nn.Module):
    """What moves values in hybrid networks: padding, splits, windows, repeats, a norm of what was a scaled sum."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(1, 6, 1, 1)), nn.Parameter(torch.rand(1, 6, 1, 1))
        self.head = nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(torch.cat([x, x[:, :, ::2, ::2].repeat(1, 1, 2, 2)], 1), (0, 1, 2, 1)) * self.scale
        x = x.relu() - self.shift
        one, two = x.split([2, 4], 1)
        x = torch.cat([two, one - one.mean(1, keepdim=True)], 1) * self.scale + self.shift
        return self.head(x[:, :, 1].unsqueeze(1).squeeze(1).mean(2))


def largest_error(package: Path, model: nn.Module, shape: Shape) -> float:
    """Return the largest difference from torch, as a share of torch's largest output."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    loaded = load(package)
    (result,) = loaded.predict({loaded.program.inputs[0].name: x}).values()
    with torch.no_grad():
        expected = model(x).numpy()
    assert result.shape == expected.shape
    return float(np.abs(result - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("kind", [ResNetLike, MobileNetLike, PyramidLike])
def test_equal_to_torch_for_networks_that_are_not_ours(
    kind: type[nn.Module], randomise: Callable[[nn.Module], nn.Module], to_package: Writer, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = randomise(kind())
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 64, 64))
    assert largest_error(package, model, (1, 3, 64, 64)) < TOLERANCE


def test_equal_to_torch_for_a_transformer(transformer: tuple[nn.Module, Path]) -> None:
    model, package = transformer
    assert largest_error(package, model, (1, 3, 64, 64)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", edge_vit.list_models())
def test_equal_to_torch_for_every_variant(
    name: str, randomise: Callable[[nn.Module], nn.Module], to_package: Writer, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = edge_vit.fuse(randomise(edge_vit.create_model(name, num_classes=10)))
    if sum(p.numel() for p in model.parameters()) > 60e6:
        pytest.skip("above 60 M parameters")
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 224, 224))
    assert largest_error(package, model, (1, 3, 224, 224)) < TOLERANCE


def test_float16_rounds_every_result_and_stays_near(
    randomise: Callable[[nn.Module], nn.Module], to_package: Writer, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = randomise(ResNetLike())
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 64, 64), "fp16")
    assert 1e-5 < largest_error(package, model, (1, 3, 64, 64)) < 1e-2
    values = load(package).evaluate({"x": torch.randn(1, 3, 64, 64)})
    activations = [v for v in values.values() if isinstance(v, np.ndarray) and v.ndim == 4 and v.shape[0] == 1]
    assert [v.dtype for v in activations].count(np.dtype(np.float16)) == len(activations) - 1  # all but the input


def test_evaluate_gives_every_value_and_predict_the_outputs(transformer: tuple[nn.Module, Path]) -> None:
    loaded, x = load(transformer[1]), {"x": torch.randn(1, 3, 64, 64)}
    values, outputs = loaded.evaluate(x), loaded.predict(x)
    names = [output.name for operation in loaded.program.operations for output in operation.outputs]
    assert set(values) == {"x", *names} and list(outputs) == list(loaded.program.outputs)
    assert all(np.array_equal(outputs[name], values[name]) for name in outputs)
    assert sum(loaded.operator_counts().values()) == sum(o.kind != "const" for o in loaded.program.operations)


def test_image_input_and_class_labels(
    randomise: Callable[[nn.Module], nn.Module], to_package: Writer, tmp_path: Path
) -> None:
    import coremltools as ct

    torch.manual_seed(0)
    model = randomise(ResNetLike())
    labels = ["a", "b", "c", "d", "e", "f", "g"]
    image = ct.ImageType(name="image", shape=(1, 3, 64, 64), scale=1 / 64, bias=[-1.0, -2.0, 0.5])
    config = ct.ClassifierConfig(labels, predicted_feature_name="label")
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 64, 64), inputs=[image], classifier_config=config)
    loaded = load(package)
    assert [(f.name, f.kind, f.shape) for f in loaded.program.inputs] == [("image", "image", (64, 64))]
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    result = loaded.predict({"image": pixels})
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 64 + torch.tensor([-1.0, -2.0, 0.5]).view(1, 3, 1, 1)
    with torch.no_grad():
        logits = model(x)[0].numpy()
    scores = next(value for value in result.values() if isinstance(value, dict))
    assert list(scores) == labels and result["label"] == labels[int(logits.argmax())]
    assert np.abs(np.array(list(scores.values())) - logits).max() < TOLERANCE * np.abs(logits).max()
    assert loaded.predict({"image": pixels[None]})["label"] == result["label"]
    with pytest.raises(ValueError, match=r"image 'image' is float32 \[64, 64, 3\]; expected uint8 \[64, 64, 3\]"):
        loaded.predict({"image": pixels.astype(np.float32)})


def test_wrong_inputs_are_named(transformer: tuple[nn.Module, Path]) -> None:
    loaded = load(transformer[1])
    with pytest.raises(ValueError, match=r"t\.mlpackage: inputs are x; got image"):
        loaded.predict({"image": np.zeros((1, 3, 64, 64), np.float32)})
    with pytest.raises(ValueError, match=r"t\.mlpackage: input 'x' has shape \[1, 3, 32, 64\]; expected \[1, 3, 64"):
        loaded.predict({"x": np.zeros((1, 3, 32, 64), np.float32)})


def test_all_unknown_operators_are_named_at_once(
    transformer: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(OPERATORS)
    del known["softmax"], known["gelu"]
    monkeypatch.setattr(interpreter, "OPERATORS", known)
    with pytest.raises(ValueError, match=r"t\.mlpackage: .* not know operator gelu \(.*'\), operator softmax \(output"):
        load(transformer[1])


def test_an_operator_outside_our_networks_is_refused(to_package: Writer, tmp_path: Path) -> None:
    class Loss(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.topk(x.flatten(1), 5)[0]

    package = to_package(Loss().eval(), tmp_path / "m.mlpackage", (1, 3, 4, 4))
    message = (
        r"m\.mlpackage: the interpreter does not know operator topk \(output '.*'\); it checks this project's files "
        "where Core ML does not run, and knows the operators of its networks alone"
    )
    with pytest.raises(ValueError, match=message):
        load(package)
