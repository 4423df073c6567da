"""The whole way to an .mlpackage: interface, precisions, numbers evaluated here, failures named."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.card import ModelCard
from converters.coreml import lower as to_coreml
from converters.coreml import run as run_coreml
from converters.coreml.lower import CoreMLOptions, convert, take_planar_picture_
from converters.coreml.mil.interpreter import load
from converters.coreml.mil.messages import model_messages
from converters.manifest import describe_file
from converters.passes import graph as graph_passes
from converters.passes.softmax import ends_in_softmax

pytestmark = pytest.mark.needs_coreml
LABELS = ("ant", "bee", "cat", "dog", "eel")
Sqnr = Callable[[np.ndarray, np.ndarray], float]


def read_model(path: Path) -> Any:
    """Return the message in a package."""
    model = model_messages().Model()
    model.ParseFromString((path / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    return model


def run_file(path: Path, images: np.ndarray) -> np.ndarray:
    call = run_coreml.load(path, 1)
    return np.concatenate([call(image[None]) for image in images])


@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 90), ("fp16", 45)])
def test_float_classifier(
    precision: str, least_db: float, small_model: nn.Module, small_example: tuple[Tensor, ...],
    small_pictures: np.ndarray, torch_logits: Callable[..., np.ndarray], sqnr_db: Sqnr, tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "small.mlpackage"
    options = CoreMLOptions(
        float_precision=precision,  # type: ignore[arg-type]
        card=ModelCard(
            name="small", description="what it is", version="1", author="who", license="which", labels=LABELS
        ),
        metadata={"trained_on": "pictures"},
    )
    result = convert(small_model, small_example, path, options=options)
    file = describe_file(path)
    assert (result.target, result.precision, result.input_shape) == ("coreml", precision, (1, 16, 16, 3))
    assert (result.num_bytes, result.sha256) == (file.num_bytes, file.sha256)
    assert result.delegated_nodes is None
    program = load(path)
    assert result.total_nodes == sum(program.operator_counts().values())
    assert [(f.name, f.kind, f.shape) for f in program.program.inputs] == [("image", "image", (16, 16))]
    description = read_model(path).description
    assert {f.name: f.type.WhichOneof("Type") for f in description.output} == {
        "logits": "multiArrayType", "classLabel": "stringType", "classLabel_probs": "dictionaryType",
    }  # fmt: skip
    assert [f.type.imageType.colorSpace for f in description.input] == [20]  # RGB
    metadata = description.metadata
    assert (metadata.shortDescription, metadata.author, metadata.license) == ("what it is", "who", "which")
    assert metadata.versionString == "1"
    assert metadata.userDefined["trained_on"] == "pictures"
    expected = torch_logits(small_model, small_pictures)
    assert sqnr_db(expected, run_file(path, small_pictures)) > least_db
    answer = program.predict({"image": small_pictures[0]})
    assert answer["classLabel"] == max(answer["classLabel_probs"], key=answer["classLabel_probs"].__getitem__)
    best = LABELS[int(expected[0].argmax())]
    assert answer["classLabel_probs"][best] == pytest.approx(answer["classLabel_probs"][answer["classLabel"]], abs=1e-3)
    assert list(answer["classLabel_probs"]) == list(LABELS)
    assert sum(answer["classLabel_probs"].values()) == pytest.approx(1, abs=1e-3)
    # The border of mean colour, then the convolution: nothing turns the picture around.
    first = [o.kind for o in program.program.operations if o.kind not in ("const", "cast")][:3]
    assert first == ["concat", "concat", "conv"]
    kinds = {precision for by in result.details["operators"].counts.values() for precision in by}
    assert kinds == ({"float32"} if precision == "fp32" else {"fp16"})
    assert sorted(p.name for p in path.iterdir()) == ["Data", "Manifest.json"]


@pytest.mark.parametrize("output", ["logits", "probabilities"])
@pytest.mark.parametrize("is_int8", [False, True])
def test_vision_takes_it_for_a_classifier(
    output: Any, is_int8: bool, small_model: nn.Module, small_qdq: GraphModule, small_example: tuple[Tensor, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Vision gives VNClassificationObservation where the description names a predicted feature (Apple's reference)."""
    model = small_qdq if is_int8 else small_model
    path = tmp_path / "small.mlpackage"
    card = ModelCard(description="what it is", version="1", author="who", license="which", labels=LABELS)
    convert(
        ends_in_softmax(model) if output == "probabilities" else model,
        small_example,
        path,
        options=CoreMLOptions(card=card, outputs=(output,)),
    )
    written = read_model(path)
    description = written.description
    assert written.WhichOneof("Type") == "mlProgram"
    assert (description.predictedFeatureName, description.predictedProbabilitiesName) == (
        "classLabel", "classLabel_probs",
    )  # fmt: skip
    types = {feature.name: feature.type for feature in description.output}
    assert types["classLabel"].WhichOneof("Type") == "stringType"
    assert types["classLabel_probs"].dictionaryType.WhichOneof("KeyType") == "stringKeyType"
    assert set(types) - {"classLabel", "classLabel_probs"} == ({"logits"} if output == "logits" else set())
    (image,) = description.input
    assert (image.type.imageType.width, image.type.imageType.height) == (16, 16)
    assert description.metadata.userDefined["com.apple.coreml.model.preview.type"] == "imageClassifier"
    said = description.metadata
    assert (said.shortDescription, said.versionString, said.author, said.license) == (
        "what it is", "1", "who", "which",
    )  # fmt: skip
    answer = load(path).predict({"image": np.full((16, 16, 3), 90, np.uint8)})
    assert tuple(answer["classLabel_probs"]) == LABELS
    assert sum(answer["classLabel_probs"].values()) == pytest.approx(1, abs=2e-3)


def test_without_labels_it_is_no_classifier(
    small_model: nn.Module, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    convert(small_model, small_example, tmp_path / "m.mlpackage", options=CoreMLOptions())
    description = read_model(tmp_path / "m.mlpackage").description
    assert description.predictedFeatureName == ""
    assert "com.apple.coreml.model.preview.type" not in description.metadata.userDefined


def test_int8_graph_keeps_its_integers(
    small_qdq: GraphModule, small_example: tuple[Tensor, ...], small_pictures: np.ndarray,
    torch_logits: Callable[..., np.ndarray], sqnr_db: Sqnr, tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "small.mlpackage"
    result = convert(small_qdq, small_example, path, options=CoreMLOptions(float_precision="fp32"))
    assert result.precision == "int8"
    assert result.details["takes"] == "an RGB image of 16 x 16; iOS 17, macOS 14 or later"
    counts = result.details["operators"].counts
    for kind, number in (("conv", 2), ("linear", 5), ("matmul", 2), ("reduce_mean", 1), ("concat", 3)):
        assert counts[kind] == {"int8": number}
    assert counts["softmax"] == {"float32": 1}
    assert any(name.startswith("softmax") for name in result.details["operators"].float_islands)
    expected = torch_logits(small_qdq, small_pictures)
    outputs = run_file(path, small_pictures)
    assert sqnr_db(expected, outputs) > 60  # float32 between the integers: next to no rounding may differ
    grid = next(n for n in reversed(list(small_qdq.graph.nodes)) if graph_passes.is_dequantize(n)).args[1]
    assert np.abs(outputs / grid - np.round(outputs / grid)).max() < 1e-3
    # coremltools may scale both sides of a sum to simpler numbers; products keep the scales of the graph.
    scales = {np.float32(n.args[1]).item() for n in small_qdq.graph.nodes if "quantize_per_tensor" in str(n.target)}
    operations = load(path).program.operations
    producers = {output.name: o for o in operations for output in o.outputs}
    checked = 0
    for operation in operations:
        if operation.kind != "quantize":
            continue
        producer = producers.get(operation.inputs["input"][0].name)  # none for the image itself
        if producer is not None and producer.kind in ("conv", "linear", "matmul"):
            assert producers[operation.inputs["scale"][0].name].value.item() in scales
            checked += 1
    assert checked == 9


def test_int8_graph_with_fp16_between(
    small_qdq: GraphModule, small_example: tuple[Tensor, ...], small_pictures: np.ndarray,
    torch_logits: Callable[..., np.ndarray], sqnr_db: Sqnr, tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "small.mlpackage"
    result = convert(small_qdq, small_example, path, options=CoreMLOptions())
    assert result.details["operators"].counts["softmax"] == {"fp16": 1}
    assert sqnr_db(torch_logits(small_qdq, small_pictures), run_file(path, small_pictures)) > 25


def test_converting_twice_gives_the_same_and_changes_nothing(
    small_model: nn.Module, small_qdq: GraphModule, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    for name, model in (("float", small_model), ("int8", small_qdq)):
        state = {key: value.clone() for key, value in model.state_dict().items()}
        graph, was_training = str(small_qdq.graph), model.training  # a graph has no mode to speak of
        options = CoreMLOptions(card=ModelCard(labels=LABELS), metadata={"key": "text"})
        files = []
        for number in range(2):
            path = tmp_path / f"{name}{number}.mlpackage"
            convert(model, small_example, path, options=options)
            written = read_model(path)
            written.description.metadata.Clear()  # says when it was made
            weights = (path / "Data/com.apple.CoreML/weights/weight.bin").read_bytes()
            files.append((written.SerializeToString(deterministic=True), weights))
        assert files[0] == files[1]
        assert model.state_dict().keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert str(small_qdq.graph) == graph and model.training == was_training
        assert options == CoreMLOptions(card=ModelCard(labels=LABELS), metadata={"key": "text"})
    assert torch.equal(small_example[0], torch.zeros(1, 16, 16, 3))


def test_pixels_without_a_mean_are_turned_once() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2))

    graph = graph_passes.owned_graph(Plain().eval(), (torch.zeros(1, 4, 5, 3),))
    assert take_planar_picture_(graph) == (0.0, 0.0, 0.0)
    x = torch.rand(1, 4, 5, 3)
    assert torch.allclose(graph(x.permute(0, 3, 1, 2)), x.mean((1, 2)))


def test_a_mean_that_is_subtracted_becomes_the_pictures_bias() -> None:
    class MeanFirst(nn.Module):
        row: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("row", torch.tensor([1.0, 2.0, 3.0]).repeat(5))

        def forward(self, x: Tensor) -> Tensor:
            x = x.reshape(-1, 4, 15) - self.row
            return x.view(-1, 4, 5, 3).permute(0, 3, 1, 2).square().mean((2, 3))

    graph = graph_passes.owned_graph(MeanFirst().eval(), (torch.zeros(1, 4, 5, 3),))
    bias = take_planar_picture_(graph)
    assert bias == (-1.0, -2.0, -3.0)
    assert graph_passes.ATEN.permute.default not in {node.target for node in graph.graph.nodes}
    x = torch.rand(1, 4, 5, 3)
    picture = x.permute(0, 3, 1, 2) + torch.tensor(bias).view(1, 3, 1, 1)
    assert torch.allclose(graph(picture), MeanFirst()(x))


def test_a_failed_or_interrupted_conversion_leaves_nothing(
    small_model: nn.Module, small_example: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered = to_coreml._lower
    kept: list[object] = []

    def lower_once(*arguments: object) -> object:
        if not kept:
            kept.append(lowered(*arguments))  # type: ignore[arg-type]
        return kept[0]

    monkeypatch.setattr(to_coreml, "_lower", lower_once)
    for error, seen in (
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("the .mlpackage does not compute its graph"), RuntimeError),
        (OSError(errno.ENOSPC, "No space left on device"), ValueError),
    ):

        def check(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(to_coreml, "_check", check)
        with pytest.raises(seen, match="No space left on device; free space" if seen is ValueError else None):
            convert(small_model, small_example, tmp_path / "m.mlpackage", options=CoreMLOptions())
        assert list(tmp_path.iterdir()) == []


def test_errors_before_lowering(
    small_model: nn.Module, small_example: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="float_precision 'int4' is not allowed; choose from fp16, fp32"):
        CoreMLOptions(float_precision="int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="label 'a' occurs twice"):
        CoreMLOptions(card=ModelCard(labels=("a", "b", "a")))
    path = tmp_path / "m.mlpackage"
    message = r"the model takes \[1, 3, 16, 16\]; only pixels, \[1, H, W, 3\], become a Core ML image"
    with pytest.raises(ValueError, match=message):
        convert(small_model, (torch.zeros(1, 3, 16, 16),), path, options=CoreMLOptions())
    with pytest.raises(ValueError, match=r"2 labels for an output of shape \[1, 5\]; give one label a class"):
        convert(small_model, small_example, path, options=CoreMLOptions(card=ModelCard(labels=("a", "b"))))
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(ImportError, match=r"coremltools is not installed .*pip install 'edge_vit\[coreml\]'"):
        convert(small_model, small_example, path, options=CoreMLOptions())
    assert list(tmp_path.iterdir()) == []


def test_an_operator_without_a_lowering_is_named(tmp_path: Path) -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.i0(x)

    with pytest.raises(ValueError, match=r"coremltools has no lowering for this model: .*i0"):
        convert(Unknown().eval(), (torch.zeros(1, 4, 4, 3),), tmp_path / "m.mlpackage", options=CoreMLOptions())
    assert list(tmp_path.iterdir()) == []


def test_an_operator_that_cannot_be_checked_is_named(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.topk(x.mean((1, 2)), 2)[0]

    with pytest.raises(ValueError, match=r"m\.mlpackage: the interpreter does not know operator topk"):
        convert(Sorted().eval(), (torch.zeros(1, 4, 4, 3),), tmp_path / "m.mlpackage", options=CoreMLOptions())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_refused(
    small_model: nn.Module, small_example: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = lambda self, inputs: {"logits": np.ones((1, 5), np.float32)}  # noqa: E731
    monkeypatch.setattr("converters.coreml.mil.interpreter.MilModel.predict", wrong)
    with pytest.raises(RuntimeError, match=r"the \.mlpackage does not compute its graph: .* dB, expected 35 or more"):
        convert(small_model, small_example, tmp_path / "m.mlpackage", options=CoreMLOptions())
    assert list(tmp_path.iterdir()) == []
