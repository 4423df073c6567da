"""MIL operators of neural networks: convolutions, products, pools, norms and resizing."""

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.coreml.mil.kernel import Ints, Kernel, collect

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    axes = x.dim() - 2
    strides, dilations = strides or (1,) * axes, dilations or (1,) * axes
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    x = _pad_spatial(x, _padding(pad_type, pad, x.shape[2:], reach, strides))
    return _CONV[axes](x, weight, bias, strides, 0, dilations, groups)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
    output_shape: Ints | None = None,
) -> Tensor:
    axes = x.dim() - 2
    strides, dilations = strides or (1,) * axes, dilations or (1,) * axes
    full = _CONV_TRANSPOSE[axes](x, weight, None, strides, 0, 0, groups, dilations)
    pad = pad if pad_type == "custom" and pad else (0,) * 2 * axes
    for axis in range(axes):
        before, after, size = pad[2 * axis], pad[2 * axis + 1], full.shape[axis + 2]
        length = size - before - after
        if pad_type in ("same", "same_lower"):
            length = x.shape[axis + 2] * strides[axis]
            before = (size - length + (pad_type == "same_lower")) // 2
        length = output_shape[axis + 2] if output_shape else length
        if before + length > size:  # the extra rows of an output padding, which only the bias reaches
            full = F.pad(full, (0, 0) * (axes - 1 - axis) + (0, before + length - size))
        full = full.narrow(axis + 2, before, length)
    return full if bias is None else full + bias.view(-1, *[1] * axes)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return torch.matmul(x.mT if transpose_x else x, y.mT if transpose_y else y)


def einsum(values: list[Tensor], equation: str) -> Tensor:
    return torch.einsum(equation, *values)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask)


def max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    strides = strides or (1,) * len(kernel_sizes)
    pads = _pool_padding(x, kernel_sizes, pad_type, strides, pad, ceil_mode)
    return _MAX_POOL[len(strides)](_pad_spatial(x, pads, float("-inf")), kernel_sizes, strides)


def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    strides = strides or (1,) * len(kernel_sizes)
    declared = _pool_padding(x, kernel_sizes, pad_type, strides, pad, False)
    pads = _pool_padding(x, kernel_sizes, pad_type, strides, pad, ceil_mode)
    # What is counted: the picture alone, or with its declared padding; never the rows that only ceil_mode adds.
    counted = torch.ones_like(x[:1, :1])
    if exclude_padding_from_average:
        counted = _pad_spatial(counted, pads)
    else:
        extra = [p - d for p, d in zip(pads, declared, strict=True)]
        counted = _pad_spatial(_pad_spatial(counted, declared, 1.0), extra)
    pool = _AVG_POOL[len(strides)]
    return pool(_pad_spatial(x, pads), kernel_sizes, strides) / pool(counted, kernel_sizes, strides)


def l2_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    mean = avg_pool(x.square(), kernel_sizes, pad_type, strides, pad, False, ceil_mode)
    return (mean * int(torch.tensor(kernel_sizes).prod())).sqrt()


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)


def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=gamma, bias=beta, eps=epsilon)


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


def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    return x / torch.sqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    return F.local_response_norm(x, size, alpha, beta, k)


def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Tensor:
    size = (int(x.shape[-2] * scale_factor_height), int(x.shape[-1] * scale_factor_width))
    return resize_nearest_neighbor(x, *size)


def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    for axis, length in ((-2, target_size_height), (-1, target_size_width)):
        x = x.index_select(axis, torch.arange(length) * x.shape[axis] // length)
    return x


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    centers = not align_corners if half_pixel_centers is None else half_pixel_centers
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if centers else "DEFAULT"
    height, width = int(x.shape[-2] * scale_factor_height), int(x.shape[-1] * scale_factor_width)
    return resize_bilinear(x, height, width, mode)


def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    for axis, length in ((-2, target_size_height), (-1, target_size_width)):
        size = x.shape[axis]
        points = _sampling_points(size, length, sampling_mode).clamp(0, size - 1)
        low = points.floor().long()
        share = (points - low).to(x.dtype)
        share = share[:, None] if axis == -2 else share
        high = (low + 1).clamp(max=size - 1)
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def _sampling_points(size: int, length: int, mode: str) -> Tensor:
    """Where output pixels lie among input pixels, float64, as the documentation of `resize_bilinear` defines."""
    i = torch.arange(length, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if length == 1:
            return i + ((size - 1) / 2 if mode == "ALIGN_CORNERS" else 0)
        return i * ((size - 1) / (length - 1))
    if mode == "DEFAULT":
        return i * (size / length)
    if mode == "UNALIGN_CORNERS":
        return (i + 0.5) * (size / length) - 0.5
    if mode == "OFFSET_CORNERS":
        return (i + 0.5) * (max(1, size - 1) / length)
    raise ValueError(f"sampling mode {mode!r} is not known here")


def _padding(kind: str, pad: Ints | None, sizes: Ints, reach: list[int], strides: Ints) -> list[int]:
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


def _pool_padding(x: Tensor, kernel: Ints, kind: str, strides: Ints, pad: Ints | None, ceil_mode: bool) -> list[int]:
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
    if not any(pads):
        return x
    return F.pad(x, [p for axis in reversed(range(len(pads) // 2)) for p in pads[2 * axis : 2 * axis + 2]], value=value)


OPERATORS: dict[str, Kernel] = collect([
    conv, conv_transpose, linear, matmul, einsum, scaled_dot_product_attention, max_pool, avg_pool, l2_pool, batch_norm,
    instance_norm, layer_norm, l2_norm, local_response_norm, upsample_nearest_neighbor, resize_nearest_neighbor,
    upsample_bilinear, resize_bilinear,
])  # fmt: skip
