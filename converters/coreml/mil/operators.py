"""What each MIL operator computes, by MIL's names: those of this project's networks after coremltools' passes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.coreml.mil.kernel import Ints, Kernel, binary, make_kernel, unary

_CAST = {"bool": torch.bool, "fp16": torch.float16, "fp32": torch.float32, "int8": torch.int8, "int32": torch.int32}
_RANGES = {"int8": (-128, 127, torch.int8), "uint8": (0, 255, torch.uint8)}


def cast(x: Tensor, dtype: str) -> Tensor:
    return x.to(_CAST[dtype])


def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return x.clamp(alpha, beta)


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def sigmoid_hard(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def thresholded_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


def reduce_mean(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    return x.mean(list(range(x.dim())) if axes is None else list(axes), keep_dims)


def reshape(x: Tensor, shape: Ints) -> Tensor:
    return x.reshape([x.shape[i] if size == 0 and i < x.dim() else size for i, size in enumerate(shape)])


def transpose(x: Tensor, perm: Ints) -> Tensor:
    return x.permute(perm)


def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes)


def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    if not interleave:
        return torch.cat(values, axis)
    axis = axis % values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> tuple[Tensor, ...]:
    if split_sizes:
        return x.split(split_sizes, axis)
    return x.chunk(num_splits or 1, axis)


def slice_by_index(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Ints | None = None,
    end_mask: Ints | None = None,
    squeeze_mask: Ints | None = None,
) -> Tensor:
    """Slice as Python does, steps below zero included; a mask's axes ignore `begin` or `end`, or leave."""
    for axis, size in enumerate(x.shape):
        first = None if begin_mask and begin_mask[axis] else begin[axis]
        last = None if end_mask and end_mask[axis] else end[axis]
        steps = range(*slice(first, last, stride[axis] if stride else 1).indices(size))
        if squeeze_mask and squeeze_mask[axis]:
            steps = range(begin[axis] % size, begin[axis] % size + 1)
        if steps != range(size):
            x = x.index_select(axis, torch.tensor(steps, dtype=torch.int64))
    return x.squeeze(tuple(i for i, flag in enumerate(squeeze_mask) if flag)) if squeeze_mask else x


def tile(x: Tensor, reps: Ints) -> Tensor:
    return x.repeat(reps)


def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    if mode != "constant":
        raise ValueError(f"padding of mode {mode!r} is not known here; constant is")
    return F.pad(x, _torch_order(pad), value=constant_val)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints = (1, 1),
    pad_type: str = "valid",
    pad: Ints = (),
    dilations: Ints = (1, 1),
    groups: int = 1,
) -> Tensor:
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    x = _pad_spatial(x, _padding(pad_type, pad, x.shape[2:], reach, strides))
    return F.conv2d(x, weight, bias, strides, 0, dilations, groups)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return torch.matmul(x.mT if transpose_x else x, y.mT if transpose_y else y)


def max_pool(
    x: Tensor, kernel_sizes: Ints, pad_type: str, strides: Ints = (1, 1), pad: Ints = (), ceil_mode: bool = False
) -> Tensor:
    pads = _pool_padding(x, kernel_sizes, pad_type, strides, pad, ceil_mode)
    return F.max_pool2d(_pad_spatial(x, pads, float("-inf")), kernel_sizes, strides)


def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints = (1, 1),
    pad: Ints = (),
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    declared = _pool_padding(x, kernel_sizes, pad_type, strides, pad, False)
    pads = _pool_padding(x, kernel_sizes, pad_type, strides, pad, ceil_mode)
    # What is counted: the picture alone, or with its declared padding; never the rows that only ceil_mode adds.
    counted = torch.ones_like(x[:1, :1])
    if exclude_padding_from_average:
        counted = _pad_spatial(counted, pads)
    else:
        extra = [p - d for p, d in zip(pads, declared, strict=True)]
        counted = _pad_spatial(_pad_spatial(counted, declared, 1.0), extra)
    return F.avg_pool2d(_pad_spatial(x, pads), kernel_sizes, strides) / F.avg_pool2d(counted, kernel_sizes, strides)


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)


def layer_norm(
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    over = sorted(a % x.dim() for a in axes) if axes is not None else list(range(x.dim()))
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + epsilon)
    shape = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    x = x if gamma is None else x * gamma.view(shape)
    return x if beta is None else x + beta.view(shape)


def quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: int | None = None
) -> Tensor:
    """clip(round(input / scale) + zero_point), halves to even, as Core ML's documentation has it."""
    low, high, dtype = _RANGES[output_dtype]
    steps = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        steps = steps + _along(zero_point, input, axis).to(steps.dtype)
    return steps.clamp(low, high).to(dtype)


def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None) -> Tensor:
    """scale * (input - zero_point), the difference in integers."""
    steps = input.int()
    if zero_point is not None:
        steps = steps - _along(zero_point, input, axis).int()
    return steps.float() * _along(scale, input, axis)


def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    return dequantize(quantized_data, scale, zero_point, axis)


def _along(parameter: Tensor, data: Tensor, axis: int | None) -> Tensor:
    """Give a scalar or vector the rank of `data`, its values along `axis`."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * data.dim()
    shape[0 if axis is None else axis] = -1
    return parameter.reshape(shape)


def _padding(kind: str, pad: Ints, sizes: Ints, reach: list[int], strides: Ints) -> list[int]:
    """Return the rows before and after, axis by axis."""
    if kind == "custom" and pad:
        return list(pad)
    pads = []
    for size, extent, stride in zip(sizes, reach, strides, strict=True):
        missing = max(((size + stride - 1) // stride - 1) * stride + extent - size, 0)
        missing = missing if kind in ("same", "same_lower") else 0
        before = (missing + 1) // 2 if kind == "same_lower" else missing // 2
        pads += [before, missing - before]
    return pads


def _pool_padding(x: Tensor, kernel: Ints, kind: str, strides: Ints, pad: Ints, ceil_mode: bool) -> list[int]:
    pads = _padding(kind, pad, x.shape[2:], list(kernel), strides)
    if not ceil_mode:
        return pads
    for axis, (extent, stride) in enumerate(zip(kernel, strides, strict=True)):
        before, after, size = pads[2 * axis], pads[2 * axis + 1], x.shape[axis + 2]
        length = -(-(size + before + after - extent) // stride) + 1
        if (length - 1) * stride >= size + before:  # a window that would start in the padding behind is dropped
            length -= 1
        pads[2 * axis + 1] = max(after, (length - 1) * stride + extent - size - before)
    return pads


def _pad_spatial(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    return F.pad(x, _torch_order(pads), value=value) if any(pads) else x


def _torch_order(pads: list[int] | Ints) -> list[int]:
    """Return the rows before and after with the last axis first, as torch takes them."""
    return [p for axis in reversed(range(len(pads) // 2)) for p in pads[2 * axis : 2 * axis + 2]]


OPERATORS: dict[str, Kernel] = {
    "add": binary(torch.add), "sub": binary(torch.sub), "mul": binary(torch.mul), "relu": unary(torch.relu),
    "relu6": unary(lambda x: x.clamp(0, 6)), "sigmoid": unary(torch.sigmoid), "silu": unary(F.silu),
    **{function.__name__: make_kernel(function) for function in (
        cast, clip, gelu, sigmoid_hard, softmax, thresholded_relu, reduce_mean, reshape, transpose, expand_dims,
        squeeze, concat, split, slice_by_index, tile, pad, conv, linear, matmul, max_pool, avg_pool, batch_norm,
        layer_norm, quantize, dequantize, constexpr_affine_dequantize,
    )},
}  # fmt: skip
