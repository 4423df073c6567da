"""Quantization-aware training: the deploy-form graph with fake quantization where the plan has int8.

The graph is trained in its deploy form: batch norm is folded before, so its statistics are frozen from the first step
and what is trained is what ships. Activation ranges are learnt (LSQ, arXiv 1902.08153, with learnt zero points as in
LSQ+, arXiv 2004.09576) from calibrated ones, and frozen for the last epochs.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edge_vit.quantization.plan import GEMM_OPS, Plan, QParams
from edge_vit.quantization.quantizer import WEIGHT_MAX

_QMIN, _QMAX = -128, 127
_MIN_SCALE = 1e-8


class ActivationFakeQuant(nn.Module):
    """Round activations to an int8 grid whose scale and zero point learn until they are frozen.

    Of the scale, the logarithm of its growth is what learns. Adam's steps do not shrink with a parameter: a learning
    rate that is small for weights would move a scale of 0.01 by a third within an epoch.

    Args:
        qparams: Where the grid starts.
        kind: "affine" learns both, "symmetric" keeps zero point 0, "fixed" learns nothing.
        num_processes: How many train it together. Each sees that part of a batch, and LSQ weighs a range's gradient by
            the size of the whole.
    """

    initial_scale: Tensor

    def __init__(self, qparams: QParams, kind: str, num_processes: int = 1) -> None:
        super().__init__()
        self.num_processes = num_processes
        self.register_buffer("initial_scale", torch.tensor([qparams.scale]))
        self.log_growth = nn.Parameter(torch.zeros(1), requires_grad=kind != "fixed")
        self.zero_point = nn.Parameter(torch.tensor([float(qparams.zero_point)]), requires_grad=kind == "affine")
        self.is_frozen = kind == "fixed"  # of Python: to read a tensor is to wait for the GPU

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        scale, zero_point = self._scale(), self.zero_point.clamp(_QMIN, _QMAX)
        grad_factor = (x.numel() * self.num_processes * _QMAX) ** -0.5
        return LearntGrid.apply(x, scale, zero_point, grad_factor)  # type: ignore[no-any-return, no-untyped-call]

    def freeze(self) -> None:
        """Stop learning scale and zero point."""
        self.is_frozen = True
        self.log_growth.requires_grad_(False)
        self.zero_point.requires_grad_(False)

    def qparams(self) -> QParams:
        """Return the grid as it stands."""
        return QParams(
            scale=float(self._scale().detach()), zero_point=int(self.zero_point.detach().round().clamp(_QMIN, _QMAX))
        )

    def _scale(self) -> Tensor:
        return (self.initial_scale * self.log_growth.exp()).clamp_min(_MIN_SCALE)


class LearntGrid(torch.autograd.Function):
    """Round to an int8 grid; scale and zero point learn as in LSQ+.

    What torch's learnable fake quantization computes, in plain operators: its kernel is slower on a CPU, and on a GPU
    it reads scale and zero point back, for which all work before must end. Passes over memory are what costs: a value
    is cut to what rounds to the grid, so that one product, one rounding and one product remain.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, grad_factor: float) -> Tensor:
        zero_point = zero_point.round()
        ends = (_LOWEST - zero_point) * scale, (_HIGHEST - zero_point) * scale
        low, high = map(float, ends) if _can_read(x) else ends  # type: Any, Any
        out = x.clamp(low, high).mul_(1.0 / scale).round_().mul_(scale)
        ctx.save_for_backward(x, scale, out if any(ctx.needs_input_grad[1:3]) else None)
        ctx.ends, ctx.grad_factor = (low, high), grad_factor
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        (grad,) = grads
        x, scale, out = ctx.saved_tensors
        grad_x = _inside(grad, x, *ctx.ends)
        if out is None:
            return grad_x, None, None, None
        # How the value changes with the scale: by what rounding did, or beyond the ends with the end.
        grad_scale = (_dot(grad, out) - _dot(grad_x, x)) / scale * ctx.grad_factor
        grad_zero_point = (grad_x.sum() - grad.sum()) * scale * ctx.grad_factor
        return grad_x, grad_scale.view_as(scale), grad_zero_point.view_as(scale), None


# The ends of what rounds to the grid. Halves round to even: 127.5 would become 128.
_LOWEST, _HIGHEST = _QMIN - 0.4999, _QMAX + 0.4999


def _can_read(x: Tensor) -> bool:
    """Tell whether reading a number waits for nothing."""
    return x.device.type == "cpu"


def _inside(grad: Tensor, x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return the gradient where x lies between the ends, and zero elsewhere."""
    if isinstance(low, float):  # one pass over memory, but it takes nothing but numbers
        return torch.ops.aten.hardtanh_backward(grad, x, low, high)
    return torch.where((x > low) & (x < high), grad, 0.0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of products of two tensors of one shape."""
    if a.is_contiguous() and b.is_contiguous():
        return torch.dot(a.view(-1), b.view(-1))
    return (a * b).sum()


class WeightFakeQuant(nn.Module):
    """Round a weight to int8, symmetric, one scale an output channel: that channel's largest value over 127."""

    def forward(self, weight: Tensor) -> Tensor:
        return WeightGrid.apply(weight)  # type: ignore[no-any-return, no-untyped-call]


class WeightGrid(torch.autograd.Function):
    """Round each output channel to its grid, which holds all its values; gradients pass as they are."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        scale = weight_scale(weight).view(-1, *[1] * (weight.dim() - 1))
        return (weight * (1.0 / scale)).round_().mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def weight_scale(weight: Tensor) -> Tensor:
    """Return the scale of each output channel, (C_out,)."""
    return (weight.detach().abs().flatten(1).amax(1) / WEIGHT_MAX).clamp_min(_MIN_SCALE)


class QatModel(nn.Module):
    """A fake-quantized graph that trains like any model: normalised images (B, 3, R, R) -> logits (B, classes).

    Args:
        graph_module: Exported with a dynamic batch from a `PixelInput` model; is changed.
        ranges: Where each range starts; from calibration.
        mean: Normalisation that is undone here, because the graph takes pixels.
        std: Likewise.
        num_processes: How many train it together.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        graph_module: GraphModule,
        plan: Plan,
        ranges: Mapping[str, QParams],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        num_processes: int = 1,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._names = list(plan.groups)
        _insert_fake_quants_(graph_module, plan, ranges, num_processes)
        self.graph = graph_module

    def forward(self, x: Tensor) -> Tensor:
        pixels = (x * self.std + self.mean) * 255.0
        return self.graph(pixels.permute(0, 2, 3, 1).contiguous())  # (B, C, H, W) -> (B, H, W, C)

    def train(self, mode: bool = True) -> "QatModel":
        # An exported graph refuses train() and eval(); it holds no dropout and no batch norm to switch.
        self.training = mode
        return self

    def fake_quants(self) -> dict[str, ActivationFakeQuant]:
        """Return every activation's fake quantization under its group's name."""
        found = {name: self.graph.get_submodule(f"fake_range_{i}") for i, name in enumerate(self._names)}
        return {name: module for name, module in found.items() if isinstance(module, ActivationFakeQuant)}

    def freeze_ranges(self) -> None:
        """Stop learning scales and zero points; weights go on."""
        for module in self.fake_quants().values():
            module.freeze()

    def ranges(self) -> dict[str, QParams]:
        """Return every range as it stands, under its group's name."""
        return {name: module.qparams() for name, module in self.fake_quants().items()}

    def weights(self) -> dict[str, Tensor]:
        """Return the graph's parameters under the names that the exported graph gives them."""
        return {name: value.detach() for name, value in self.graph.named_parameters() if not name.startswith("fake_")}


def _insert_fake_quants_(
    graph_module: GraphModule, plan: Plan, ranges: Mapping[str, QParams], num_processes: int
) -> None:
    graph = graph_module.graph
    for i, (name, group) in enumerate(plan.groups.items()):
        target = f"fake_range_{i}"
        fake_quant = ActivationFakeQuant(group.fixed or ranges[name], group.kind, num_processes)
        graph_module.add_submodule(target, fake_quant)
        for entry in group.entries:
            users = list(entry.users)
            with graph.inserting_after(entry):
                wrapped = graph.call_module(target, (entry,))
            for user in users:
                user.replace_input_with(entry, wrapped)
    graph_module.add_submodule("fake_weight", WeightFakeQuant())
    for node in plan.int8_nodes:
        if node.target in GEMM_OPS:
            weight = node.args[1]
            assert isinstance(weight, Node)
            with graph.inserting_before(node):
                node.replace_input_with(weight, graph.call_module("fake_weight", (weight,)))
    graph_module.recompile()
