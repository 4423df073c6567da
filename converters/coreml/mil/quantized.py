"""MIL operators that go between integers and floats: at run time, and once for compressed weights."""

import torch
from torch import Tensor

from converters.coreml.mil.kernel import Ints, Kernel, collect
from converters.coreml.mil.program import unpack_bits

_RANGES = {"int8": (-128, 127, torch.int8), "uint8": (0, 255, torch.uint8)}


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
    steps = quantized_data.float() - _along(zero_point, quantized_data, axis).float()
    return steps * _along(scale, quantized_data, axis)


def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    steps = data.float()
    if offset is not None:
        steps = steps - _repeat_blocks(offset, data.shape).float()
    return steps * _repeat_blocks(scale, data.shape)


def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    return source_val.float()


def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Ints | None = None, vector_axis: int | None = None
) -> Tensor:
    """Look every index up; `shape` belongs to the iOS 16 form, whose indices are packed bits."""
    if shape is not None:
        bits = (lut.numel() - 1).bit_length()
        count = int(torch.tensor(shape).prod())
        return lut[torch.from_numpy(unpack_bits(indices.numpy(), bits, count)).long()].view(shape)
    entries, size = lut.shape[-2:]
    tables = _repeat_blocks(lut, (*indices.shape, entries, size))
    index = indices.long()[..., None, None].expand(*indices.shape, 1, size)
    values = tables.gather(-2, index).squeeze(-2)  # (*indices, vector)
    if size == 1:
        return values.squeeze(-1)
    assert vector_axis is not None
    axis = vector_axis % indices.dim()
    return values.movedim(-1, axis + 1).flatten(axis, axis + 1)


def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Ints | None = None) -> Tensor:
    """Put the values where the mask is set; `shape` belongs to the iOS 16 form, whose mask is packed bits."""
    if shape is not None:
        count = int(torch.tensor(shape).prod())
        mask = torch.from_numpy(unpack_bits(mask.numpy(), 1, count)).view(shape)
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    dense[mask.bool()] = nonzero_data
    return dense


def constexpr_lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    dense = constexpr_lut_to_dense(indices, lut, None, vector_axis)
    mask = indices_mask if vector_axis is None else indices_mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, dense[mask.bool()]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    dense = constexpr_blockwise_shift_scale(constexpr_sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask.bool()]


def _along(parameter: Tensor, data: Tensor, axis: int | None) -> Tensor:
    """Give a scalar or vector the rank of `data`, its values along `axis`."""
    if parameter.dim() == 0 or parameter.numel() == 1:
        return parameter.reshape(())
    if parameter.dim() == data.dim():
        return parameter
    shape = [1] * data.dim()
    shape[0 if axis is None else axis] = -1
    return parameter.reshape(shape)


def _repeat_blocks(parameter: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    for axis, size in enumerate(shape):
        parameter = parameter.repeat_interleave(size // parameter.shape[axis], axis)
    return parameter


OPERATORS: dict[str, Kernel] = collect([
    quantize, dequantize, constexpr_affine_dequantize, constexpr_blockwise_shift_scale, constexpr_cast,
    constexpr_lut_to_dense, constexpr_lut_to_sparse, constexpr_sparse_blockwise_shift_scale, constexpr_sparse_to_dense,
])  # fmt: skip
