"""The processes that torchrun starts, the device of each, and the arithmetic that it is fast in."""

import ctypes
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Which of how many processes this is; `local_rank` counts within its machine."""

    rank: int = 0
    num_processes: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return this process's share of `count` things."""
        return range(self.rank, count, self.num_processes)


def find_place() -> Place:
    """Read from the environment what torchrun says; one process where it says nothing."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    rank, num_processes, local_rank = (
        int(os.environ.get(name, "1" if name == "WORLD_SIZE" else "0")) for name in names
    )
    return Place(rank=rank, num_processes=num_processes, local_rank=local_rank)


def find_device(place: Place, name: str) -> "torch.device":
    """Return this process's device.

    Raises:
        ValueError: If CUDA is asked for and not there.
    """
    import torch

    use_cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    if use_cuda and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not available in this torch; use --device cpu")
    return torch.device("cuda", place.local_rank) if use_cuda else torch.device("cpu")


def join(place: Place, device: "torch.device") -> None:
    """Join torchrun's group if there is more than one process."""
    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL works on the current one
    if place.num_processes > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Leave the group, if one was joined.

    The group's object is never freed, one a process: gloo's ends its thread while it holds Python's lock, and that
    thread may wait for the lock, to let go of the last collective's tensors. Then neither goes on.
    """
    import torch.distributed as dist

    if dist.is_initialized():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(dist.group.WORLD))
        dist.destroy_process_group()


def wrap(model: "nn.Module", place: Place, device: "torch.device") -> "nn.Module":
    """Return the module that averages the gradients of all processes; again needed when what learns changes."""
    if place.num_processes == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    # Buffers are batch norm's, which all processes compute alike.
    devices = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


def gather(items: list[Any]) -> list[Any]:
    """Return the items of all processes, in the order of their ranks."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return items
    parts: list[list[Any]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def total(value: "torch.Tensor") -> "torch.Tensor":
    """Return the sum over all processes."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value


def use_bf16(precision: str, device: "torch.device") -> bool:
    """Return whether to compute in bf16: where "auto" was asked for, if it is fast."""
    if precision != "auto":
        return precision == "bf16"
    import torch

    # On a CPU with AVX512_BF16 it trains levit_128s and fastervit_edge_0 2.2 to 2.7 times as fast as fp32, and
    # efficientvit_m0, mostly depthwise convolutions, 0.8 times.
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
