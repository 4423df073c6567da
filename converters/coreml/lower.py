"""PyTorch to Core ML (.mlpackage, an ML program for iOS 17 and later), through coremltools.

    model or qdq graph -> graph passes -> torch.export -> coremltools -> folder -> evaluated off a Mac and compared

The file takes a picture, RGB, as an app has it. Its logits stay an output beside the class label and the probabilities
that Vision and Xcode's preview expect of a classifier.
"""

import importlib.metadata
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from converters.card import ModelCard
from converters.coreml.inspect import summarise
from converters.coreml.mil.interpreter import MilModel, load
from converters.coreml.mil.messages import missing_coremltools
from converters.coreml.run import outputs_of
from converters.first_line import first_line
from converters.manifest import describe_file
from converters.passes import graph as passes
from converters.passes.clamps import drop_implied_clamps_
from converters.passes.constants import fold_quantized_constants_
from converters.passes.softmax import add_softmax_
from converters.quiet import quiet
from converters.result import ConversionResult, written_whole
from converters.sqnr import require_sqnr

_PACKAGES = ("torch", "coremltools")
PREVIEW_TYPE = "com.apple.coreml.model.preview.type"  # how Xcode shows a model at work
_MOVES = (passes.ATEN.reshape.default, passes.ATEN.view.default)
MIN_SQNR_DB = {"fp32": 60.0, "fp16": 35.0, "int8": 20.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMLOptions:
    """How the file presents itself.

    Attributes:
        float_precision: In which float operators compute. The Neural Engine runs fp16 alone; scales of an int8 graph
            are then fp16 numbers too.
        outputs: The names of what the model gives, in order. Probabilities with labels come by label, and alone.
        card: What Xcode shows. With labels the file is a classifier.
        metadata: Further texts, kept with the model.
    """

    float_precision: Literal["fp16", "fp32"] = "fp16"
    outputs: tuple[str, ...] = ("logits",)
    card: ModelCard = ModelCard()  # noqa: RUF009, it is frozen
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.float_precision not in ("fp16", "fp32"):
            raise ValueError(f"float_precision {self.float_precision!r} is not allowed; choose from fp16, fp32")
        labels = self.card.labels
        if len(set(labels)) != len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise ValueError(f"label {twice!r} occurs twice; Core ML keys its probabilities by label, make them unique")


def convert(
    model: nn.Module, example_inputs: tuple[Tensor, ...], output_path: Path, *, options: CoreMLOptions
) -> ConversionResult:
    """Write `model` as an .mlpackage and compare it, evaluated here, with torch.

    Args:
        model: A float module in eval mode, or a qdq graph (quantized_decomposed operators).
        example_inputs: One batch-one input: pixels (1, H, W, 3), float, 0 to 255.

    Raises:
        ValueError: If an operator has no lowering or cannot be checked off a Mac, the model takes no pixels, the labels
            do not fit, or the folder cannot be written.
        ImportError: If coremltools is not installed; the message names the extra.
        RuntimeError: If the written file does not compute what the model does.
    """
    _require_coremltools()
    (example,) = example_inputs
    if example.dim() != 4 or example.shape[0] != 1 or example.shape[3] != 3:
        raise ValueError(f"the model takes {list(example.shape)}; only pixels, [1, H, W, 3], become a Core ML image")
    with quiet():  # copying a graph warns about torch's own classes
        graph = passes.owned_graph(model, example_inputs)
    is_quantized = passes.is_qdq_graph(graph)
    if is_quantized:
        fold_quantized_constants_(graph)
        drop_implied_clamps_(graph)
    bias = take_planar_picture_(graph)
    labels = options.card.labels
    if labels:
        _check_labels(graph, len(labels))
        if options.outputs == ("logits",):
            _add_probabilities_(graph)
    planar = example.permute(0, 3, 1, 2).contiguous()
    converted = _lower(graph, planar, bias, options)
    precision = "int8" if is_quantized else options.float_precision
    with written_whole(output_path) as temporary:
        with quiet(logging.ERROR):
            converted.save(str(temporary))
        (temporary / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)  # no part of the format
        program = load(temporary)
        _check(program, model, example, options.outputs, MIN_SQNR_DB[precision])
    file = describe_file(output_path)
    kinds = program.operator_counts()
    return ConversionResult(
        target="coreml",
        path=output_path,
        num_bytes=file.num_bytes,
        sha256=file.sha256,
        precision=precision,
        input_shape=tuple(example.shape),
        delegated_nodes=None,
        total_nodes=sum(kinds.values()),
        tool_versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        details={
            "operators": summarise(program.program),
            "slow_path": (),
            "input_name": "image",
            "takes": f"an RGB image of {planar.shape[3]} x {planar.shape[2]}; iOS 17, macOS 14 or later",
            "input_dtype": "uint8",
            "input_range": (0.0, 255.0),
        },
    )


def take_planar_picture_(graph: GraphModule) -> tuple[float, float, float]:
    """Let a graph of pixels (1, H, W, 3) take (1, 3, H, W), as Core ML's images come; return what to add to each color.

    Where the graph begins by subtracting a mean and turning to (1, 3, H, W), both leave it: Core ML subtracts the mean
    as the picture's bias. Where it frames the picture with constants before turning it, the constants are turned
    instead. Otherwise one permutation goes in front.
    """
    (source,) = [node for node in graph.graph.nodes if node.op == "placeholder"]
    value = source.meta["val"]
    found = _mean_and_turn(graph, source)
    planar = value.permute(0, 3, 1, 2).contiguous()
    bias = (0.0, 0.0, 0.0)
    if found is None and not _turn_frame_(graph, source):
        with graph.graph.inserting_after(source):
            turned = graph.graph.call_function(passes.ATEN.permute.default, (source, [0, 2, 3, 1]))
        turned.meta["val"] = value
        source.replace_all_uses_with(turned, delete_user_cb=lambda user: user is not turned)
    elif found is not None:
        mean, turn = found
        turn.replace_all_uses_with(source)
        bias = (-mean[0], -mean[1], -mean[2])
    source.meta["val"] = planar
    source.meta.pop("tensor_meta", None)
    passes.finish_(graph, 1)
    return bias


def _mean_and_turn(graph: GraphModule, source: Node) -> tuple[list[float], Node] | None:
    """Find the mean that is subtracted from the pixels, and the permutation after it, through moves and qdq pairs."""
    mean = None
    node = source
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.target == passes.ATEN.sub.Tensor and mean is None:
            mean = _mean_of_row(graph, node.args[1])
            if mean is None:
                return None
        elif node.target == passes.ATEN.permute.default:
            return (mean, node) if mean is not None and list(node.args[1]) == [0, 3, 1, 2] else None  # type: ignore
        elif node.target not in _MOVES and not passes.is_quantize(node) and not passes.is_dequantize(node):
            return None
    return None


def _turn_frame_(graph: GraphModule, source: Node) -> bool:
    """Join constants to the picture in its turned form, if concatenations are all that lies before it is turned."""
    joins, node = [], source
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.target == passes.ATEN.permute.default:
            break
        if node.target == passes.ATEN.cat.default:
            joins.append(node)
        elif not passes.is_quantize(node) and not passes.is_dequantize(node):
            return False
    if not joins or node.target != passes.ATEN.permute.default or list(node.args[1]) != [0, 3, 1, 2]:  # type: ignore
        return False
    constants = [_constant_behind(part) for join in joins for part in join.args[0]]  # type: ignore[union-attr]
    if sum(constant is None for constant in constants) != len(joins):
        return False
    for constant in filter(None, constants):
        turned = passes.get_tensor(graph, constant).permute(0, 3, 1, 2).contiguous()
        replacement = passes.add_constant_(graph, constant, turned)
        constant.replace_all_uses_with(replacement)
        graph.graph.erase_node(constant)
    for join in joins:
        axis = join.args[1] if len(join.args) > 1 else 0
        join.args = (join.args[0], {0: 0, 1: 2, 2: 3, 3: 1}[axis % 4])  # type: ignore[operator, index]
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
    return True


def _constant_behind(node: Any) -> Node | None:
    """Return the constant that `node` is or dequantizes, if nothing else reads it; None for an activation."""
    while passes.is_dequantize(node) or passes.is_quantize(node):
        node = node.args[0]
    return node if node.op == "get_attr" and len(node.users) == 1 else None


def _mean_of_row(graph: GraphModule, node: Any) -> list[float] | None:
    """Return the three numbers that a constant repeats, or None."""
    if passes.is_dequantize(node):
        source, scale, zero_point = node.args[:3]
        if source.op != "get_attr" or isinstance(scale, Node):
            return None
        row = (passes.get_tensor(graph, source).double() - zero_point) * scale
    elif isinstance(node, Node) and node.op == "get_attr":
        row = passes.get_tensor(graph, node).double()
    else:
        return None
    row = row.reshape(-1)
    if row.numel() % 3 or not torch.equal(row, row[:3].repeat(row.numel() // 3)):
        return None
    return row[:3].tolist()


def _check_labels(graph: GraphModule, count: int) -> None:
    (value,) = _output_of(graph).all_input_nodes
    shape = passes.shape_of(value)
    if shape is None or shape[-1] != count:
        raise ValueError(f"{count} labels for an output of shape {list(shape or ())}; give one label a class")


def _output_of(graph: GraphModule) -> Node:
    (output,) = [node for node in graph.graph.nodes if node.op == "output"]
    return output


def _add_probabilities_(graph: GraphModule) -> None:
    output = _output_of(graph)
    (logits,) = output.all_input_nodes
    output.args = ((logits, add_softmax_(graph, logits)),)
    graph.graph._codegen = torch.fx.graph.CodeGen()  # the exported one knows a single output
    graph.recompile()


def _require_coremltools() -> None:
    try:
        with quiet(logging.ERROR):
            import coremltools  # noqa: F401
    except ImportError as e:
        raise missing_coremltools(e) from e


def _lower(graph: GraphModule, planar: Tensor, bias: tuple[float, float, float], options: CoreMLOptions) -> Any:
    with quiet(logging.ERROR):
        import coremltools as ct

        precisions = {"fp16": ct.precision.FLOAT16, "fp32": ct.precision.FLOAT32}
        card, classifier, names = options.card, None, list(options.outputs)
        if card.labels:
            names = list(dict.fromkeys([*names, "probabilities"]))
            classifier = ct.ClassifierConfig(list(card.labels), predicted_probabilities_output="probabilities")
        image = ct.ImageType(name="image", shape=tuple(planar.shape), bias=list(bias))
        try:
            converted = ct.convert(
                torch.export.export(graph, (planar,)).run_decompositions({}),
                inputs=[image],
                outputs=[ct.TensorType(name=name, dtype=np.float32) for name in names],
                classifier_config=classifier,
                minimum_deployment_target=ct.target.iOS17,
                compute_precision=precisions[options.float_precision],
                pass_pipeline=_pipeline(ct),
                skip_model_load=True,
            )
        except (NotImplementedError, RuntimeError, ValueError) as e:
            raise ValueError(f"coremltools has no lowering for this model: {first_line(e)[:300]}") from e
    converted.short_description, converted.version = card.description, card.version
    converted.author, converted.license = card.author, card.license
    if card.labels:
        converted.user_defined_metadata[PREVIEW_TYPE] = "imageClassifier"
    for key, text in options.metadata.items():
        converted.user_defined_metadata[key] = text
    return converted


def _pipeline(ct: Any) -> Any:
    """Return coremltools' passes, less one, and one more at their end.

    Left out is the pass that divides both sides of an int8 sum by one of their scales: the sum is the same, its scales
    would no longer be those of the other formats. A classifier has three outputs, label and probabilities in place of
    one, and coremltools (9.0) then looks for types of outputs that nobody gave. They have done their work by then.
    """
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    class ForgetOutputTypes(AbstractGraphPass):
        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                function.output_types = None

    name = "edge_vit::forget_output_types"
    if name not in PASS_REGISTRY.passes:
        PASS_REGISTRY.passes[name] = ForgetOutputTypes()
    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes({"common::distributive_quantized_binary_op_scale_normalization"})
    pipeline.append_pass(name)
    return pipeline


def _check(program: MilModel, model: nn.Module, example: Tensor, names: tuple[str, ...], min_sqnr_db: float) -> None:
    """Evaluate the program on seeded pixels and compare with torch."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, tuple(example.shape), generator=generator).to(torch.uint8)
    with torch.no_grad():
        expected = model(pixels.float())
    outputs = outputs_of(program.predict({"image": pixels.numpy()}), names)
    wanted = (expected,) if isinstance(expected, Tensor) else tuple(expected)
    for found, one in zip(outputs, wanted, strict=True):
        require_sqnr(".mlpackage", one.numpy(), found, min_sqnr_db)
