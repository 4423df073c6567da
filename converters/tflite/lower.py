"""PyTorch to TFLite, through litert-torch; and what every backend of TFLite shares.

model or qdq graph -> backend -> flatbuffer edits -> metadata and labels -> file -> inspection
"""

import copy
import importlib.metadata
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.fx import GraphModule

from converters.card import ModelCard
from converters.checksum import sha256_file
from converters.decompose import local_decompositions, shared_provenance
from converters.first_line import first_line
from converters.late_code import late_code
from converters.passes.constants import settle_constants_
from converters.passes.graph import check_eval_mode, is_qdq_graph
from converters.quiet import quiet, quiet_native
from converters.result import ConversionResult, written_whole
from converters.tflite.edits.apply import edit_model
from converters.tflite.edits.boundary import INPUT_NAME
from converters.tflite.inspect import inspect
from converters.tflite.metadata import append_labels, make_metadata

_PACKAGES = ("torch", "litert-torch", "litert-converter", "ai-edge-litert", "torchao")


@dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteOptions:
    """How the file is stored.

    Attributes:
        half_precision: Store the constants of a float graph in fp16; kernels compute in float32.
        has_floats: Whether the processor computes floats; where it does not, softmax and GELU stay in int8.
        is_wide: Give the activations of a quantized graph 16 bits; weights keep 8.
        has_plain_constants: Write sums with constants as LiteRT's GPU engine reads them.
        io: "uint8" takes pixels and gives floats; "int8" takes pixels less 128 and gives integers, as a quantized graph
            does inside.
        outputs: The names of what the model gives, in order.
        card: What the file says of itself in its TFLite Metadata.
    """

    half_precision: bool = False
    has_floats: bool = True
    is_wide: bool = False
    has_plain_constants: bool = False
    io: Literal["uint8", "int8"] = "uint8"
    outputs: tuple[str, ...] = ("logits",)
    card: ModelCard = ModelCard()  # noqa: RUF009, it is frozen


# Turns a model and its example inputs into a flatbuffer, and names the tools that did, with their versions.
Backend = Callable[[nn.Module, tuple[Tensor, ...]], tuple[bytes, dict[str, str]]]


def convert(
    model: nn.Module, example_inputs: tuple[Tensor, ...], output_path: Path, *, options: TFLiteOptions
) -> ConversionResult:
    """Write `model` as a .tflite file.

    Args:
        model: A float module in eval mode, or a qdq graph (quantized_decomposed operators).
        example_inputs: One batch-one input, as the model takes it: pixels, 0 to 255.

    Raises:
        ValueError: If an operator has no lowering, or the folder cannot be written.
        ImportError: If litert-torch is not installed; the message names the extra.
    """
    return convert_through(_lower, model, example_inputs, output_path, options=options)


def convert_through(
    backend: Backend,
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    output_path: Path,
    *,
    options: TFLiteOptions,
) -> ConversionResult:
    """Write `model` as a .tflite file; only the way to the flatbuffer is the backend's."""
    check_eval_mode(model)
    is_quantized = is_qdq_graph(model)
    if is_quantized and options.half_precision:
        raise ValueError("a quantized graph has int8 weights; half_precision is for float graphs")
    stored: Literal["int8", "fp16"] | None = "int8" if is_quantized else "fp16" if options.half_precision else None
    flatbuffer, tool_versions = backend(model, example_inputs)
    card = options.card
    metadata = make_metadata(card, INPUT_NAME, options.outputs)
    edited = edit_model(
        flatbuffer,
        stored_constants=stored,
        has_floats=options.has_floats,
        is_wide=options.is_wide,
        has_plain_constants=options.has_plain_constants,
        io=options.io,
        outputs=options.outputs,
        metadata=metadata,
    )
    edited = append_labels(edited, card.labels)
    with written_whole(output_path) as temporary:
        temporary.write_bytes(edited)
    inspection = inspect(output_path)
    input_ = inspection.tensors[inspection.inputs[0]]
    return ConversionResult(
        target="tflite",
        path=output_path,
        num_bytes=len(edited),
        sha256=sha256_file(output_path),
        precision="int16" if options.is_wide else stored or "fp32",
        input_shape=input_.shape,
        delegated_nodes=len(inspection.operators) - len(inspection.slow_path),
        total_nodes=len(inspection.operators),
        tool_versions=tool_versions,
        details={
            "operators": inspection.summary(),
            "slow_path": inspection.slow_path,
            "input_dtype": input_.dtype,
            "input_range": (-128.0, 127.0) if input_.dtype == "int8" else (0.0, 255.0),
            "output_dtype": inspection.tensors[inspection.outputs[-1]].dtype,
        },
    )


def _lower(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> tuple[bytes, dict[str, str]]:
    try:
        with quiet(), quiet_native():
            import litert_torch
            from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
            from litert_torch.quantize.quant_config import QuantConfig
    except ImportError as e:
        raise ImportError(
            f"litert-torch is not installed ({e.name or e}); run: pip install 'edge_vit[tflite]'", name=e.name
        ) from e
    with quiet():  # copying a graph warns about torch's own classes
        owned = copy.deepcopy(model)
    quant_config = None
    if is_qdq_graph(owned):
        assert isinstance(owned, GraphModule)
        settle_constants_(owned)
        # Only its mode counts: "the graph holds static int8 quantize-dequantize pairs".
        config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
        quant_config = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(config))
    _make_contiguous_(owned)
    try:
        with quiet(), quiet_native(), late_code(), shared_provenance(), local_decompositions():
            lowered: Any = litert_torch.convert(owned, example_inputs, quant_config=quant_config)
            flatbuffer = _flatbuffer(lowered)
    except (NotImplementedError, RuntimeError) as e:
        raise ValueError(f"litert-torch has no lowering for this model: {first_line(e)[:300]}") from e
    return flatbuffer, {name: importlib.metadata.version(name) for name in _PACKAGES}


def _make_contiguous_(model: nn.Module) -> None:
    """Lay constants out in plain order, values unchanged.

    litert-torch tells constants apart by address. Of one that is not contiguous it takes a copy, whose address another
    copy may get once it is freed: two different constants of equal shape then become one, in some runs and not others.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.contiguous()


def _flatbuffer(lowered: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        lowered.export(path)
        return Path(path).read_bytes()
