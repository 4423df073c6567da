"""MIL operators that move values about: shapes, slices, gathers, and tensors made from numbers."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.coreml.mil.kernel import Ints, Kernel, collect

Flags = Ints  # MIL's masks; each is 0 or 1


def reshape(x: Tensor, shape: Ints) -> Tensor:
    kept = [x.shape[i] if size == 0 and i < x.dim() else size for i, size in enumerate(shape)]
    return x.reshape(kept)


def transpose(x: Tensor, perm: Ints) -> Tensor:
    return x.permute(perm)


def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes)


def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    rows = int(torch.tensor(x.shape[:axis]).prod()) if axis else 1
    return x.reshape(rows, -1)


def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    if not interleave:
        return torch.cat([torch.as_tensor(v) for v in values], axis)
    stacked = torch.stack(values, axis % values[0].dim() + 1)
    return stacked.flatten(axis % values[0].dim(), axis % values[0].dim() + 1)


def stack(values: list[Tensor], axis: int) -> Tensor:
    return torch.stack([torch.as_tensor(v) for v in values], axis)


def split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> tuple[Tensor, ...]:
    if split_sizes:
        return x.split(split_sizes, axis)
    assert num_splits
    return x.chunk(num_splits, axis)


def slice_by_index(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Flags | None = None,
    end_mask: Flags | None = None,
    squeeze_mask: Flags | None = None,
) -> Tensor:
    ranges = _ranges(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    for axis, steps in enumerate(ranges):
        if steps != range(x.shape[axis]):
            x = x.index_select(axis, torch.tensor(steps, dtype=torch.int64))
    return x.squeeze(tuple(i for i, flag in enumerate(squeeze_mask) if flag)) if squeeze_mask else x


def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Flags | None = None,
    end_mask: Flags | None = None,
    squeeze_mask: Flags | None = None,
) -> Tensor:
    ranges = _ranges(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    grid = torch.meshgrid(*(torch.tensor(steps, dtype=torch.int64) for steps in ranges), indexing="ij")
    x = x.clone()
    x[grid] = update.reshape(grid[0].shape)
    return x


def _ranges(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None,
    begin_mask: Flags | None,
    end_mask: Flags | None,
    squeeze_mask: Flags | None,
) -> list[range]:
    ranges = []
    for axis, size in enumerate(x.shape):
        step = stride[axis] if stride else 1
        first = None if begin_mask and begin_mask[axis] else begin[axis]
        last = None if end_mask and end_mask[axis] else end[axis]
        if squeeze_mask and squeeze_mask[axis]:
            at = begin[axis] % size
            ranges.append(range(at, at + 1))
        else:
            ranges.append(range(*slice(first, last, step).indices(size)))
    return ranges


def slice_by_size(x: Tensor, begin: Ints, size: Ints) -> Tensor:
    for axis, (first, length) in enumerate(zip(begin, size, strict=True)):
        first = first % x.shape[axis] if first < 0 else first
        x = x.narrow(axis, first, x.shape[axis] - first if length == -1 else length)
    return x


def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    height, width = x.shape[-2:]
    return x[..., crop_height[0] : height - crop_height[1], crop_width[0] : width - crop_width[1]]


def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    axes = len(pad) // 2
    torch_order = [p for axis in reversed(range(axes)) for p in pad[2 * axis : 2 * axis + 2]]
    if mode == "constant":
        return F.pad(x, torch_order, value=constant_val)
    lead = x.shape[: x.dim() - axes]
    while len(torch_order) > 2 and torch_order[-2:] == [0, 0]:
        torch_order = torch_order[:-2]
    spatial = len(torch_order) // 2
    inner = x.reshape(1, -1, *x.shape[x.dim() - spatial :])
    padded = F.pad(inner, torch_order, mode=mode)
    return padded.reshape(*lead, *x.shape[len(lead) : x.dim() - spatial], *padded.shape[2:])


def tile(x: Tensor, reps: Ints) -> Tensor:
    return x.repeat(reps)


def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.flip(list(range(x.dim())) if axes is None else list(axes))


def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    indices = torch.as_tensor(indices).long()
    axis = axis % x.dim()
    if batch_dims:
        rows = [gather(a, b, axis - 1, batch_dims - 1) for a, b in zip(x, indices, strict=True)]
        return torch.stack(rows)
    flat = _wrap(indices, x.shape[axis]).reshape(-1)
    return x.index_select(axis, flat).reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    return torch.take_along_dim(x, _wrap(indices.long(), x.shape[axis]), axis)


def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    if batch_dims:
        return torch.stack([gather_nd(a, b, batch_dims - 1) for a, b in zip(x, indices, strict=True)])
    return x[tuple(indices.long().unbind(-1))]


def scatter(
    data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    if mode not in ("add", "update"):
        raise ValueError(f"mode {mode!r} is not known here; add and update are")
    write = data.index_add if mode == "add" else data.index_copy
    return write(axis, torch.as_tensor(indices).long().reshape(-1), updates)


def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    if mode not in ("add", "update"):
        raise ValueError(f"mode {mode!r} is not known here; add and update are")
    return data.index_put(tuple(indices.long().unbind(-1)), updates, accumulate=mode == "add")


def _wrap(indices: Tensor, size: int) -> Tensor:
    return torch.where(indices < 0, indices + size, indices)


def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    order = x.sort(dim=axis, descending=not ascending, stable=True)
    values, indices = (t.narrow(axis, 0, k) for t in order)
    return (values, indices) if return_indices else (values,)


def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return x.argsort(dim=axis, descending=not ascending, stable=True)


def one_hot(indices: Tensor, one_hot_vector_size: int, axis: int = -1, on_value: Any = 1, off_value: Any = 0) -> Tensor:
    axis = axis % (indices.dim() + 1)
    shape = [1] * (indices.dim() + 1)
    shape[axis] = one_hot_vector_size
    is_on = indices.unsqueeze(axis) == torch.arange(one_hot_vector_size).view(shape)
    return torch.where(is_on, torch.as_tensor(on_value), torch.as_tensor(off_value))


def range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(*(torch.as_tensor(v).item() for v in (start, end, step)))


def fill(shape: Ints, value: Any = 0.0) -> Tensor:
    return torch.as_tensor(value).reshape(()).expand(shape)


def fill_like(ref_tensor: Tensor, value: Any = 0.0) -> Tensor:
    return fill(tuple(ref_tensor.shape), value)


def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def non_zero(x: Tensor) -> Tensor:
    return x.nonzero()


def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    offset = torch.arange(x.shape[-1])[None] - torch.arange(x.shape[-2])[:, None]
    keep = torch.ones_like(offset, dtype=torch.bool)
    keep &= (offset >= -lower) if lower >= 0 else keep
    keep &= (offset <= upper) if upper >= 0 else keep
    return torch.where(keep, x, torch.zeros_like(x))


def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, block_size, block_size, channels // block_size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, -1, height * block_size, width * block_size)


def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // block_size, block_size, width // block_size, block_size)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block_size, width // block_size)


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


OPERATORS: dict[str, Kernel] = collect([
    reshape, transpose, expand_dims, squeeze, flatten2d, concat, stack, split, slice_by_index, slice_update,
    slice_by_size, crop, pad, tile, reverse, gather, gather_along_axis, gather_nd, scatter, scatter_nd, topk, argsort,
    one_hot, range_1d, fill, fill_like, shape, non_zero, band_part, depth_to_space, space_to_depth, pixel_shuffle,
    pixel_unshuffle,
])  # fmt: skip
