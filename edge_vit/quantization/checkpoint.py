"""Quantized checkpoints: int8 weights with their scales, float biases, and every activation range, in one file.

Weights lie in the file as the integers that the artefact will hold, under the names of the exported deploy-form graph.
Converting needs no data, and gives the same integers every time.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from edge_vit.models.sources import SCALE_SUFFIX
from edge_vit.quantization.plan import GEMM_OPS, Plan, QParams
from edge_vit.quantization.qat import weight_scale

FORM = "int8"


def pack(weights: Mapping[str, Tensor], quantized: set[str]) -> dict[str, Tensor]:
    """Return tensors for storage: those named in `quantized` as int8 and a scale per output channel.

    Args:
        weights: The graph's parameters, float.
        quantized: Names of the weights that int8 operators read.
    """
    packed: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name not in quantized:
            packed[name] = value
            continue
        scale = weight_scale(value)
        shape = (-1,) + (1,) * (value.dim() - 1)
        packed[name] = (value / scale.view(shape)).round().clamp(-127, 127).to(torch.int8)
        packed[name + SCALE_SUFFIX] = scale
    return packed


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `pack`: float weights that lie exactly on their grid.

    Raises:
        ValueError: If integers have no scale.
    """
    weights = {}
    for name, value in tensors.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        if value.dtype == torch.int8:
            scale = tensors.get(name + SCALE_SUFFIX)
            if scale is None:
                raise ValueError(f"{name} has no {SCALE_SUFFIX}; the checkpoint is damaged, get it again")
            value = value.float() * scale.view((-1,) + (1,) * (value.dim() - 1))
        weights[name] = value
    return weights


def quantized_weight_names(graph_module: GraphModule, plan: Plan) -> set[str]:
    """Return the names of the weights that the plan's int8 operators read, in a graph as exported.

    Constants that a rewrite put there, such as the 1/C of a mean, are no weights.
    """
    names = {str(node.args[1].target) for node in plan.int8_nodes if node.target in GEMM_OPS}  # type: ignore[union-attr]
    return names & {name for name, _ in graph_module.named_parameters()}


def save_quantized(
    path: Path,
    weights: Mapping[str, Tensor],
    ranges: Mapping[str, QParams],
    quantized: set[str],
    metadata: Mapping[str, Any],
) -> None:
    """Write a quantized checkpoint; `quantized` names the weights that are stored as integers.

    Raises:
        ValueError: If one of those is not among the weights.
    """
    from edge_vit.models.checkpoint_io import write_checkpoint

    missing = sorted(quantized - set(weights))
    if missing:
        raise ValueError(f"{len(missing)} quantized weights are not in the graph ({', '.join(missing[:3])})")
    stored = {name: asdict(qparams) for name, qparams in ranges.items()}
    write_checkpoint(path, pack(weights, quantized), {**metadata, "form": FORM, "ranges": stored})


def ranges_from(metadata: Mapping[str, Any]) -> dict[str, QParams]:
    """Return the activation ranges that a quantized checkpoint's metadata carries."""
    try:
        return {name: QParams(**entry) for name, entry in metadata["ranges"].items()}
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"the checkpoint's ranges cannot be read ({e}); train or calibrate it again") from e


def load_into_graph_(graph_module: GraphModule, tensors: Mapping[str, Tensor], label: str) -> None:
    """Put stored weights into an exported graph, every one accounted for.

    Raises:
        ValueError: If names or shapes differ.
    """
    weights = unpack(tensors)
    own = dict(graph_module.named_parameters())
    wrong = sorted(set(own) ^ set(weights))
    if wrong:
        raise ValueError(f"{label} does not fit the model: {len(wrong)} names differ ({', '.join(wrong[:3])})")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                raise ValueError(f"{label}: {name} is {tuple(weights[name].shape)}, needed {tuple(parameter.shape)}")
            parameter.copy_(weights[name])
