"""torch's own ONNX exporter, for every converter that goes through ONNX."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from converters.first_line import first_line
from converters.passes.graph import free_batch
from converters.quiet import quiet


def require_exporter() -> None:
    """Raise ImportError, naming the extra, where the exporter's packages are missing."""
    try:
        with quiet():
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
    except ImportError as e:
        raise ImportError(
            f"writing ONNX needs a package that is not installed ({e.name}); run: pip install 'edge_vit[onnx]'",
            name=e.name,
        ) from e


def export_program(
    graph: GraphModule,
    example_inputs: tuple[Tensor, ...],
    input_name: str,
    output_names: tuple[str, ...],
    *,
    is_free_batch: bool = False,
    **options: Any,
) -> Any:
    """Return torch's ONNXProgram of an exported graph.

    Args:
        is_free_batch: Let the input's first axis have any size; the example has two pictures then.
        options: Of `torch.onnx.export`.

    Raises:
        torch.onnx.OnnxExporterError: If an operator has no ONNX form; `reason_of` says which.
    """
    shapes = free_batch() if is_free_batch else None
    with quiet(), torch.no_grad():
        exported = torch.export.export(graph, example_inputs, dynamic_shapes=shapes)
        program = torch.onnx.export(
            exported, example_inputs, dynamo=True, verbose=False, input_names=[input_name],
            output_names=list(output_names), **options,
        )  # fmt: skip
    assert program is not None and program.exported_program is not None
    return program


def reason_of(error: BaseException) -> str:
    """Return the innermost cause's first line; the outer ones tell how to report a bug."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)[:300]
