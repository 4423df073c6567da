"""PyTorch to ONNX, quantize and dequantize operators (QDQ) included, through torch's own exporter.

model or qdq graph -> graph passes -> torch.onnx.export -> edits -> file -> run in ONNX Runtime and compared
"""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.card import ModelCard
from converters.checksum import sha256_file
from converters.onnx.edits import (
    INPUT_NAME,
    activations_to_unsigned_,
    drop_allow_zero_,
    name_domains_,
    own_weights_,
    pool_planes_,
    quantize_biases_,
    store_half_,
    take_uint8_,
)
from converters.onnx.export import export_program, reason_of, require_exporter
from converters.onnx.graph import QUANTIZE, OnnxGraph
from converters.onnx.inspect import inspect
from converters.onnx.run import load_all
from converters.passes.clamps import drop_implied_clamps_
from converters.passes.constants import fold_quantized_constants_
from converters.passes.graph import is_qdq_graph, owned_graph
from converters.passes.layout import average_over_planes_, split_to_slices_
from converters.passes.linear import flatten_linear_
from converters.passes.qdq import drop_repeated_qdq_
from converters.passes.scalars import quantize_scalars_
from converters.quiet import quiet
from converters.result import ConversionResult, written_whole
from converters.sqnr import require_sqnr

_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
# What torch's exporter writes without rewriting, and the newest that every runtime in docs/backends.md documents.
OPSET, IR_VERSION = 18, 8
MIN_SQNR_DB = {"fp32": 60.0, "fp16": 35.0, "int8": 20.0, "int16": 35.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxOptions:
    """How the file presents itself.

    Attributes:
        half_precision: Store the constants of a float graph in fp16; runtimes widen them or compute so, as they like.
        is_free_batch: Take any number of pictures at once; the example has two then.
        outputs: The names of what the model gives, in order.
        card: What the file says of itself, in its metadata.
        facts: What an app must know to use the file: name -> text, number, or several of these; in the metadata too.
    """

    half_precision: bool = False
    is_free_batch: bool = False
    outputs: tuple[str, ...] = ("logits",)
    card: ModelCard = ModelCard()  # noqa: RUF009, it is frozen
    facts: Mapping[str, Any] = field(default_factory=dict)


def convert(
    model: nn.Module, example_inputs: tuple[Tensor, ...], output_path: Path, *, options: OnnxOptions
) -> ConversionResult:
    """Write `model` as an .onnx file and compare it, run by ONNX Runtime, with torch.

    Args:
        model: A float module in eval mode, or a qdq graph (quantized_decomposed operators).
        example_inputs: One input, as the model takes it: pixels (B, H, W, 3), float, 0 to 255.

    Raises:
        ValueError: If an operator has no lowering, or the folder cannot be written.
        ImportError: If a package is not installed; the message names the extra.
        RuntimeError: If the written file does not compute what the model does.
    """
    require_exporter()
    with quiet():  # copying a graph warns about torch's own classes
        graph = owned_graph(model, example_inputs, is_free_batch=options.is_free_batch)
    is_quantized = is_qdq_graph(graph)
    if is_quantized and options.half_precision:
        raise ValueError("a quantized graph has int8 weights; half_precision is for float graphs")
    _prepare_(graph, is_quantized)
    written = _lower(graph, example_inputs, options)
    _edit_(written, is_quantized, options)
    is_wide = any(written.is_wide(node) for node in written.nodes if node.op_type == QUANTIZE)
    precision = "int16" if is_wide else "int8" if is_quantized else "fp16" if options.half_precision else "fp32"
    with written_whole(output_path) as temporary:
        temporary.write_bytes(written.model.SerializeToString(deterministic=True))
        _check(temporary, model, example_inputs[0], MIN_SQNR_DB[precision], options.is_free_batch)
    inspection = inspect(output_path)
    return ConversionResult(
        target="onnx",
        path=output_path,
        num_bytes=output_path.stat().st_size,
        sha256=sha256_file(output_path),
        precision=precision,
        input_shape=(1 if options.is_free_batch else example_inputs[0].shape[0], *example_inputs[0].shape[1:]),
        delegated_nodes=inspection.total - len(inspection.slow_path),
        total_nodes=inspection.total,
        tool_versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        details={"operators": inspection.summary, "slow_path": inspection.slow_path},
    )


def _prepare_(graph: GraphModule, is_quantized: bool) -> None:
    """Bring the graph into forms that runtimes know in int8."""
    if is_quantized:
        fold_quantized_constants_(graph)
        drop_implied_clamps_(graph)
        quantize_scalars_(graph)
    split_to_slices_(graph)
    average_over_planes_(graph)
    flatten_linear_(graph)
    drop_repeated_qdq_(graph)


def _lower(graph: GraphModule, example_inputs: tuple[Tensor, ...], options: OnnxOptions) -> OnnxGraph:
    try:
        program = export_program(
            graph, example_inputs, INPUT_NAME, options.outputs,
            is_free_batch=options.is_free_batch, opset_version=OPSET,
        )  # fmt: skip
    except torch.onnx.OnnxExporterError as e:
        raise ValueError(f"torch's ONNX exporter has no lowering for this model: {reason_of(e)}") from e
    return OnnxGraph(program.model_proto)


def _edit_(graph: OnnxGraph, is_quantized: bool, options: OnnxOptions) -> None:
    pool_planes_(graph)
    drop_allow_zero_(graph)
    if is_quantized:
        activations_to_unsigned_(graph)
        own_weights_(graph)
        quantize_biases_(graph)
    take_uint8_(graph)
    if is_quantized:
        name_domains_(graph)
    if options.half_precision:
        store_half_(graph)
    _describe_(graph, options)
    graph.finish_()


def _describe_(graph: OnnxGraph, options: OnnxOptions) -> None:
    """Say what the model is; what the exporter says of files on this machine goes."""
    from onnx import helper

    card, model = options.card, graph.model
    for entry in (*graph.nodes, model.graph, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "edge_vit", ""
    model.doc_string, model.graph.name = card.description, card.name or "model"
    texts = {"model": card.name, "description": card.description, "version": card.version, "author": card.author,
             "license": card.license}  # fmt: skip
    known: dict[str, Any] = {name: text for name, text in texts.items() if text}
    facts = {**known, "classes": card.labels, "outputs": options.outputs, **options.facts}
    facts |= {"input_range": (0.0, 255.0), "input_dtype": "uint8"}
    said = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in facts.items()}
    helper.set_model_props(model, said)


def _check(path: Path, model: nn.Module, example: Tensor, min_sqnr_db: float, is_free_batch: bool) -> None:
    """Run the file on seeded pixels and compare with torch; where it takes any number of them, also on one alone."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, tuple(example.shape), generator=generator).to(torch.uint8)
    call = load_all(path, 1)
    outputs = call(pixels.numpy())
    with torch.no_grad():
        expected = model(pixels.float())
    wanted = (expected,) if isinstance(expected, Tensor) else tuple(expected)
    for found, one in zip(outputs, wanted, strict=True):
        require_sqnr(".onnx", one.numpy(), found, min_sqnr_db)
    for found, one in zip(call(pixels[:1].numpy()) if is_free_batch else (), wanted, strict=is_free_batch):
        require_sqnr(".onnx", one[:1].numpy(), found, min_sqnr_db)
