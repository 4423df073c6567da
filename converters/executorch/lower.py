"""PyTorch to ExecuTorch (.pte), through XNNPACK, or float graphs through Core ML or Vulkan.

    model or qdq graph -> graph passes -> torch.export -> partition and lower -> file -> run and compare

The file takes float32 pixels or, with an int8 graph whose input grid is that of pixels, int8 ones (pixel - 128), so
that no operator is left outside the delegate for its sake. The network normalises inside.

Files for Core ML and Vulkan are lowered and looked into; this machine has nothing to run them.
"""

import contextlib
import importlib.metadata
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.checksum import sha256_file
from converters.decompose import local_decompositions, shared_provenance
from converters.executorch.backends import TITLES, Backend, other_partitioner
from converters.executorch.clean_up import cancelled_turns
from converters.executorch.inspect import PteInspection, inspect_lowered
from converters.first_line import first_line
from converters.late_code import late_code
from converters.passes.clamps import drop_implied_clamps_
from converters.passes.constants import fold_quantized_constants_
from converters.passes.graph import is_qdq_graph, owned_graph
from converters.passes.layer_norm import spell_out_layer_norm_
from converters.passes.layout import average_over_planes_, copy_when_turning_, split_to_slices_, turn_once_
from converters.passes.qdq import drop_repeated_qdq_, take_integer_input_
from converters.passes.scalars import float_scalars_, quantize_scalars_
from converters.quiet import quiet
from converters.result import ConversionResult, written_whole
from converters.sqnr import require_sqnr

_PACKAGES = ("torch", "executorch", "torchao")
MIN_SQNR_DB = {"fp32": 60.0, "int8": 20.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuTorchOptions:
    """How the file presents itself.

    Attributes:
        backend: Who computes: "xnnpack", "coreml" or "vulkan".
        etrecord: Where to write an ETRecord, with which ExecuTorch's own inspector names profiled operators.
        facts: What an app must know to use the file: name -> text, number, or several of these. Each becomes a constant
            method, `get_NAME`; shape, type and range of the input are added.
    """

    backend: Backend = "xnnpack"
    etrecord: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def convert(
    model: nn.Module, example_inputs: tuple[Tensor, ...], output_path: Path, *, options: ExecuTorchOptions
) -> ConversionResult:
    """Write `model` as a .pte file and, if it is for XNNPACK, compare it with torch.

    Args:
        model: A float module in eval mode, or a qdq graph (quantized_decomposed operators).
        example_inputs: One batch-one input, as the model takes it.

    Raises:
        ValueError: If an operator has no lowering, the backend takes no integers, or the folder cannot be written.
        ImportError: If ExecuTorch is not installed; the message names the extra.
        RuntimeError: If the written file does not compute what the model does.
    """
    _require_executorch()
    with quiet():  # copying a graph warns about torch's own classes
        graph = owned_graph(model, example_inputs)
    is_quantized = is_qdq_graph(graph)
    if is_quantized and options.backend != "xnnpack":
        raise ValueError(f"a quantized graph goes through xnnpack; {options.backend} takes float ones")
    grid = _prepare_(graph, is_quantized)
    inputs = example_inputs if grid is None else tuple(x.to(torch.int8) for x in example_inputs)
    details = _input_details(inputs[0], grid)
    shape = {"input_shape": tuple(inputs[0].shape)}
    methods = {f"get_{name}": value for name, value in {**options.facts, **shape, **details}.items()}
    program, inspection = _lower(graph, inputs, methods, options.backend, needs_record=options.etrecord is not None)
    precision = "int8" if is_quantized else "fp32"
    with written_whole(output_path) as temporary:
        temporary.write_bytes(program.buffer)
        if options.backend == "xnnpack":
            _check(temporary, model, inputs[0], grid, MIN_SQNR_DB[precision])
    if options.etrecord is not None:
        with written_whole(options.etrecord) as temporary:
            program.get_etrecord().save(str(temporary))
    return ConversionResult(
        target="executorch",
        path=output_path,
        num_bytes=output_path.stat().st_size,
        sha256=sha256_file(output_path),
        precision=precision,
        input_shape=tuple(inputs[0].shape),
        delegated_nodes=inspection.num_delegated,
        total_nodes=inspection.num_delegated + len(inspection.outside),
        tool_versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        details=_details(inspection) | details,
    )


def _require_executorch() -> None:
    try:
        with quiet():
            import executorch.exir  # noqa: F401
    except ImportError as e:
        message = f"executorch is not installed ({e.name or e}); run: pip install 'edge_vit[executorch]'"
        raise ImportError(message, name=e.name) from e


def _prepare_(graph: GraphModule, is_quantized: bool) -> tuple[float, int] | None:
    """Bring the graph into the form that XNNPACK takes whole; return the grid of integer inputs, if it takes them.

    It takes integers where its first operator would quantize the pixels anyway.
    """
    grid = None
    if is_quantized:
        fold_quantized_constants_(graph)
        drop_implied_clamps_(graph)
        quantize_scalars_(graph)
        grid = take_integer_input_(graph)
    float_scalars_(graph)
    split_to_slices_(graph)
    average_over_planes_(graph)
    spell_out_layer_norm_(graph)
    copy_when_turning_(graph)
    turn_once_(graph)
    drop_repeated_qdq_(graph)
    return grid


def _lower(
    graph: GraphModule, inputs: tuple[Tensor, ...], methods: dict[str, Any], backend: Backend, needs_record: bool
) -> tuple[Any, PteInspection]:
    """Lower; `methods` are constants that the program returns by name."""
    from executorch.exir import to_edge_transform_and_lower
    from torch._export.verifier import SpecViolationError

    shortcuts = contextlib.ExitStack()
    decompositions = (local_decompositions(), _needed_decompositions())
    level = logging.NOTSET if backend == "xnnpack" else logging.CRITICAL  # its partitioner's reasons are collected
    for context in (quiet(level), late_code(), shared_provenance(), *decompositions, cancelled_turns()):
        shortcuts.enter_context(context)
    with shortcuts, _refusals() as reasons:
        exported = torch.export.export(graph, inputs)
        try:
            lowered = to_edge_transform_and_lower(
                exported,
                partitioner=[_partitioner() if backend == "xnnpack" else other_partitioner(backend)],
                constant_methods=methods,
                generate_etrecord=needs_record,
            )
            # First: what follows changes the graph in place.
            inspection = inspect_lowered(lowered, reasons, TITLES[backend])
            return lowered.to_executorch(), inspection
        except (RuntimeError, NotImplementedError, AssertionError, SpecViolationError) as e:
            raise ValueError(f"executorch has no lowering for this model: {first_line(e)[:300]}") from e


def _partitioner() -> Any:
    """Return ExecuTorch's partitioner, but a delegate owns all constants that it reads.

    The stock one (ExecuTorch 1.4.1) leaves constants of sums, products and joins outside, as inputs of the delegate
    that XNNPACK cannot prepare in advance.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir.backend.utils import tag_constant_data

    class OwningPartitioner(XnnpackPartitioner):
        def partition(self, exported_program: Any) -> Any:
            result = super().partition(exported_program)
            tag_constant_data(exported_program)
            return result

    return OwningPartitioner(configs=_partitioner_configs())


def _partitioner_configs() -> list[Any]:
    """Return ExecuTorch's configs, but with batched matmul and sigmoid allowed in int8.

    The runtime's XNNPACK has the kernels and the serializer writes them; only the stock partitioner does not offer
    them (ExecuTorch 1.4.1).
    """
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import BMMConfig, SigmoidConfig
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType

    def with_int8(config: Any) -> Any:
        both = [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]
        return type(f"Int8{config.__name__}", (config,), {"supported_precision_types": lambda self: both})

    opened = (BMMConfig, SigmoidConfig)
    return [with_int8(config) if config in opened else config for config in ALL_PARTITIONER_CONFIGS]


def _check(path: Path, model: nn.Module, example: Tensor, grid: tuple[float, int] | None, min_sqnr_db: float) -> None:
    """Run the file on seeded pixels and compare with torch."""
    from converters.executorch.run import load_all

    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, tuple(example.shape), generator=generator).float()
    scale, zero_point = grid or (1.0, 0)
    fed = pixels if grid is None else (pixels / scale + zero_point).round().clamp(-128, 127)
    outputs = load_all(path, 1)(fed.to(example.dtype).numpy())
    with torch.no_grad():
        expected = model(pixels)
    wanted = (expected,) if isinstance(expected, Tensor) else tuple(expected)
    for found, one in zip(outputs, wanted, strict=True):
        require_sqnr(".pte", one.numpy(), found, min_sqnr_db)


def _details(inspection: PteInspection) -> dict[str, Any]:
    return {
        "operators": inspection.summary(),
        "slow_path": inspection.outside,
        "delegate_calls": inspection.num_delegate_calls,
    }


def _input_details(example: Tensor, grid: tuple[float, int] | None) -> dict[str, Any]:
    low, high = (-128.0, 127.0) if grid is not None else (0.0, 255.0)
    return {"input_dtype": str(example.dtype).removeprefix("torch."), "input_range": (low, high)}


@contextlib.contextmanager
def _refusals() -> Iterator[dict[str, str]]:
    """Collect what the partitioner says about nodes that it refuses: node name -> reason."""
    reasons: dict[str, str] = {}

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said: Any = record.msg
            node = getattr(said, "node", None)
            if node is not None:
                reasons.setdefault(node.name, str(said.reason).rstrip("."))

    logger = logging.getLogger("executorch.backends.xnnpack.partition.config")
    handler, level, propagate = Collector(logging.DEBUG), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield reasons
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _lacks_copy(schema: Any) -> bool:
    """Tell whether an operator gives a view and has no copying form, which ExecuTorch needs (reshape)."""
    is_view = any(value.alias_info is not None for value in schema.returns)
    return is_view and not hasattr(torch.ops.aten, f"{schema.name.removeprefix('aten::')}_copy")


@contextlib.contextmanager
def _needed_decompositions() -> Iterator[None]:
    """Leave out decompositions of programs that hold nothing to decompose, each of which traces the whole model anew.

    ExecuTorch asks for three in a row; the first brings our graphs, which change no tensor in place, nothing, and the
    last is for operators that the partitioner gave back.
    """
    from torch.export import ExportedProgram

    decompose = ExportedProgram.run_decompositions

    def decompose_if_needed(self: Any, decomp_table: Any = None, **options: Any) -> Any:
        targets = [node.target for node in self.graph.nodes if node.op == "call_function"]
        schemas = [target._schema for target in targets if hasattr(target, "_schema")]
        is_needed = decomp_table is None or any(target in decomp_table for target in targets)
        if not is_needed and not any(schema.is_mutable or _lacks_copy(schema) for schema in schemas):
            return self
        return decompose(self, decomp_table, **options)

    ExportedProgram.run_decompositions = decompose_if_needed  # type: ignore[method-assign]
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = decompose  # type: ignore[method-assign]
