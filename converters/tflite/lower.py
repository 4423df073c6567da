"""PyTorch to TFLite, through litert-torch.

model or qdq graph -> torch.export -> litert-torch -> flatbuffer edits -> file -> inspection
"""

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.fx import GraphModule

from converters.checksum import sha256_file
from converters.passes.graph import check_eval_mode, is_qdq_graph, settle_constants_
from converters.quiet import quiet, quiet_native
from converters.result import ConversionResult, written_whole
from converters.tflite.edits.apply import edit_model
from converters.tflite.inspect import inspect

_PACKAGES = ("torch", "litert-torch", "litert-converter", "ai-edge-litert", "torchao")


@dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteOptions:
    """How the file presents itself.

    Attributes:
        uint8_input: Take uint8 pixels; else what the graph takes (float32, or int8 on its grid).
        half_precision: Store the constants of a float graph in fp16; kernels compute in float32.
    """

    uint8_input: bool = True
    half_precision: bool = False


def make_options(*, half_precision: bool) -> TFLiteOptions:
    """Return the options for the command's precision flag."""
    return TFLiteOptions(half_precision=half_precision)


def convert(
    model: nn.Module, example_inputs: tuple[Tensor, ...], output_path: Path, *, options: TFLiteOptions
) -> ConversionResult:
    """Write `model` as a .tflite file.

    Args:
        model: A float module in eval mode, or a qdq graph (quantized_decomposed operators).
        example_inputs: One batch-one input, as the model takes it.

    Raises:
        ValueError: If an operator has no lowering, or the folder cannot be written.
        ImportError: If litert-torch is not installed; the message names the extra.
    """
    is_quantized = is_qdq_graph(model)
    check_eval_mode(model)
    flatbuffer = _lower(model, example_inputs, is_quantized)
    if is_quantized and options.half_precision:
        raise ValueError("a quantized graph has int8 weights; half_precision is for float graphs")
    stored: Literal["int8", "fp16"] | None = "fp16" if options.half_precision else None
    if is_quantized:
        stored = "int8"
    edited = edit_model(flatbuffer, uint8_input=options.uint8_input, stored_constants=stored)
    with written_whole(output_path) as temporary:
        temporary.write_bytes(edited)
    inspection = inspect(output_path)
    slow = [op.name for op in inspection.slow_path]
    return ConversionResult(
        target="tflite",
        path=output_path,
        num_bytes=len(edited),
        sha256=sha256_file(output_path),
        precision="int8" if is_quantized else "fp32",
        input_shape=tuple(int(size) for size in inspection.tensors[inspection.inputs[0]].shape),
        delegated_nodes=len(inspection.operators) - len(slow),
        total_nodes=len(inspection.operators),
        tool_versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        details={"operators": inspection.summary(), "slow_path": inspection.slow_path},
    )


def _lower(model: nn.Module, example_inputs: tuple[Tensor, ...], is_quantized: bool) -> bytes:
    try:
        with quiet(), quiet_native():
            import litert_torch
            from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
            from litert_torch.quantize.quant_config import QuantConfig
    except ImportError as e:
        raise ImportError(
            f"litert-torch is not installed ({e.name or e}); run: pip install 'edge_vit[tflite]'", name=e.name
        ) from e
    quant_config = None
    if is_quantized:
        # Only its mode counts: "the graph holds static int8 quantize-dequantize pairs".
        config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
        quant_config = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(config))
    if is_quantized:
        assert isinstance(model, GraphModule)
        settle_constants_(model)
    _make_contiguous_(model)
    try:
        with quiet(), quiet_native():
            lowered: Any = litert_torch.convert(model, example_inputs, quant_config=quant_config)
            return _flatbuffer(lowered)
    except (NotImplementedError, RuntimeError) as e:
        first = str(e).strip().splitlines()[0][:300] if str(e).strip() else type(e).__name__
        raise ValueError(f"litert-torch has no lowering for this model: {first}") from e


def _make_contiguous_(model: nn.Module) -> None:
    """Lay constants out in plain order, values unchanged.

    litert-torch tells constants apart by address. Of one that is not contiguous it takes a copy, whose address another
    copy may get once it is freed: two different constants of equal shape then become one, in some runs and not others.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.contiguous()


def _flatbuffer(lowered: Any) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        lowered.export(path)
        return Path(path).read_bytes()
