"""The processes that torchrun starts, the device of each, and the arithmetic that it is fast in."""

import os

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def join_processes(device_name: str) -> tuple[int, int, torch.device]:
    """Join torchrun's process group if there is one; return rank, world size and this process's device."""
    use_cuda = device_name == "cuda" or (device_name == "auto" and torch.cuda.is_available())
    if use_cuda and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not available in this torch; use --device cpu")
    world_size, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if world_size > 1:
        torch.distributed.init_process_group("nccl" if use_cuda else "gloo")
        return torch.distributed.get_rank(), world_size, device
    return 0, 1, device


def wrap(model: nn.Module, world_size: int, device: torch.device) -> nn.Module:
    if world_size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def use_bf16(precision: str, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bf16"
    # On a CPU with AVX512_BF16 it trains levit_128s and fastervit_edge_0 2.2 to 2.7 times as fast as fp32, and
    # efficientvit_m0, mostly depthwise convolutions, 0.8 times.
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
