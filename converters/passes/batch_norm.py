"""Batch norms and other scales of channels: folded into the convolution or linear layer before or behind them."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from converters.passes.graph import (
    ATEN,
    add_call_,
    add_parameter_,
    finish_,
    get_tensor,
    only_user,
    shape_of,
    stored,
)

_LAYERS = (ATEN.conv2d.default, ATEN.linear.default)
_RESHAPES = (ATEN.view.default, ATEN.reshape.default, ATEN.flatten.using_ints)
_KEEPING = (ATEN.contiguous.default, ATEN.clone.default)


def fold_batch_norms_(graph: GraphModule) -> int:
    """Fold every batch norm in eval mode into its neighbour; write one that has none as a product and a sum."""
    found = [node for node in graph.graph.nodes if node.target == ATEN.batch_norm.default]
    for node in found:
        x, weight, bias, mean, variance, is_training, _, epsilon = node.args[:8]
        if is_training or mean is None:
            raise ValueError(
                "a batch norm computes its statistics from the batch; call eval(), and leave track_running_stats on"
            )
        scale = (get_tensor(graph, variance).double() + float(epsilon)).rsqrt()
        if weight is not None:
            scale = scale * get_tensor(graph, weight).double()
        shift = -get_tensor(graph, mean).double() * scale
        if bias is not None:
            shift = shift + get_tensor(graph, bias).double()
        before = _layer_before(x, 1)
        behind = only_user(node)
        if before is not None:
            _scale_outputs_(graph, before, scale, shift)
            node.replace_all_uses_with(x)
        elif behind is not None and _takes_affine(behind, node):
            _scale_inputs_(graph, behind, scale, shift)
            node.replace_all_uses_with(x)
        else:
            shape = (1, -1, *[1] * (len(shape_of(x) or (0, 0)) - 2))
            path = str(mean.target).rpartition(".")[0]
            factor = add_parameter_(graph, node, path, "scale", scale.float().view(shape))
            addend = add_parameter_(graph, node, path, "shift", shift.float().view(shape))
            product = add_call_(graph, node, ATEN.mul.Tensor, x, factor)
            node.replace_all_uses_with(add_call_(graph, node, ATEN.add.Tensor, product, addend))
        graph.graph.erase_node(node)
    return finish_(graph, len(found))


def fold_scales_(graph: GraphModule) -> int:
    """Fold products with a number, or with a constant of one value a channel, into the layer before: layer scales, and
    the scale of attention."""
    changed = 0
    for node in [n for n in graph.graph.nodes if n.target in (ATEN.mul.Tensor, ATEN.div.Tensor) and not n.kwargs]:
        x, factor = node.args[:2]
        if node.target == ATEN.mul.Tensor and (stored(graph, x) is not None or not isinstance(x, Node)):
            x, factor = factor, x
        rank, value = len(shape_of(x) or ()), stored(graph, factor)
        if isinstance(factor, int | float):
            value = torch.tensor(float(factor), dtype=torch.float64)
        if value is None or not isinstance(x, Node) or stored(graph, x) is not None or not value.is_floating_point():
            continue
        value = value.detach().double()
        if node.target == ATEN.div.Tensor:
            value = 1.0 / value
        wide = [axis + rank - value.dim() for axis, size in enumerate(value.shape) if size != 1]
        layer = _layer_before(x, wide[0] if wide else None) if len(wide) < 2 and value.dim() <= rank else None
        if layer is None or not torch.isfinite(value).all():
            continue
        outputs = get_tensor(graph, layer.args[1]).shape[0]  # type: ignore[arg-type]
        if value.numel() not in (1, outputs):
            continue
        _scale_outputs_(graph, layer, value.reshape(-1).expand(outputs), torch.zeros(outputs, dtype=torch.float64))
        node.replace_all_uses_with(x)
        graph.graph.erase_node(node)
        changed += 1
    return finish_(graph, changed)


def _layer_before(node: Any, axis: int | None) -> Node | None:
    """Return the layer that alone feeds `node` through operators that move values, if `axis` of it holds its channels.

    With `axis` None, any that only moves lie between.
    """
    while isinstance(node, Node) and len(node.users) == 1:
        shape = shape_of(node)
        if shape is None or node.kwargs:
            return None
        if node.target in _LAYERS:
            channels = 1 if node.target == ATEN.conv2d.default else len(shape) - 1
            is_stored = isinstance(node.args[1], Node) and node.args[1].op == "get_attr"
            return node if is_stored and axis in (None, channels) else None
        source = node.args[0] if node.args else None
        before = shape_of(source)
        if before is None:
            return None
        if node.target == ATEN.transpose.int:
            swapped: list[int] = [a % len(shape) for a in node.args[1:3]]  # type: ignore
            axis = axis if axis is None or axis not in swapped else swapped[1 - swapped.index(axis)]
        elif node.target == ATEN.permute.default:
            axis = None if axis is None else int(node.args[1][axis]) % len(shape)  # type: ignore
        elif node.target in _RESHAPES:
            axis = None if axis is None else _axis_before(before, shape, axis)
            if axis == -1:
                return None
        elif node.target not in _KEEPING:
            return None
        node = source
    return None


def _axis_before(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int:
    """Return where an axis was before a reshape, -1 if its values were not an axis of their own.

    Sizes compare by their text: a batch of any size is a symbol.
    """
    for was, size in enumerate(before):
        is_same = str(size) == str(after[axis])
        tail = str(before[was + 1 :]) == str(after[axis + 1 :])
        head = str(before[:was]) == str(after[:axis])
        if is_same and (tail or head):
            return was
    return -1


def _scale_outputs_(graph: GraphModule, layer: Node, scale: Tensor, shift: Tensor) -> None:
    weight, bias = _values(graph, layer)
    shape = (-1, *[1] * (weight.dim() - 1))
    _give_(graph, layer, weight * scale.view(shape), shift if bias is None else bias * scale + shift)


def _takes_affine(layer: Node, source: Node) -> bool:
    """Tell whether a layer that reads `source` can apply a scale and shift of its channels: it pads nothing."""
    is_stored = layer.target in _LAYERS and isinstance(layer.args[1], Node) and layer.args[1].op == "get_attr"
    if not is_stored or layer.args[0] is not source or layer.kwargs:
        return False
    if layer.target == ATEN.linear.default:
        return len(shape_of(source) or ()) == 2
    return not any(layer.args[4]) if len(layer.args) > 4 else True  # type: ignore[arg-type]


def _scale_inputs_(graph: GraphModule, layer: Node, scale: Tensor, shift: Tensor) -> None:
    weight, bias = _values(graph, layer)
    if layer.target == ATEN.linear.default:
        added, scaled = weight @ shift, weight * scale
    else:
        outputs_of_group = weight.shape[0] // (scale.numel() // weight.shape[1])
        of_output = torch.arange(weight.shape[0]) // outputs_of_group
        scales, shifts = (v.view(-1, weight.shape[1])[of_output][:, :, None, None] for v in (scale, shift))
        added, scaled = (weight * shifts).sum((1, 2, 3)), weight * scales
    _give_(graph, layer, scaled, added if bias is None else bias + added)


def _values(graph: GraphModule, layer: Node) -> tuple[Tensor, Tensor | None]:
    bias = layer.args[2] if len(layer.args) > 2 else None
    weight = get_tensor(graph, layer.args[1]).detach().double()  # type: ignore[arg-type]
    return weight, None if bias is None else get_tensor(graph, bias).detach().double()  # type: ignore[arg-type]


def _give_(graph: GraphModule, layer: Node, weight: Tensor, bias: Tensor) -> None:
    """Let a layer read these in place of its weight and bias, which others may read too and keep."""
    path, _, leaf = str(layer.args[1].target).rpartition(".")  # type: ignore[union-attr]
    arguments = list(layer.args) + [None] * (3 - len(layer.args))
    layer.args = (layer.args[0], None, None, *arguments[3:])  # so that names are free if nothing else reads them
    arguments[1] = add_parameter_(graph, layer, path, leaf, weight.float())
    arguments[2] = add_parameter_(graph, layer, path, "bias", bias.float())
    layer.args = tuple(arguments)
