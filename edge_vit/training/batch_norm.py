"""Batch norm over the batches of all processes, so that several processes compute what one with all pictures would."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SharedBatchNorm(nn.BatchNorm2d):
    """Normalise (B, C, ...) by the mean and variance over all processes, each of which has as many values.

    torch's SyncBatchNorm does so on GPUs only.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() >= 2

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        num_processes = dist.get_world_size()
        x = input.float()
        axes, shape = [0, *range(2, x.dim())], [1, -1] + [1] * (x.dim() - 2)
        mean = all_reduce(x.mean(axes)) / num_processes
        centred = x - mean.view(shape)
        variance = all_reduce(centred.square().mean(axes)) / num_processes
        self._keep_statistics(mean, variance, num_processes * x.numel() // x.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _keep_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1


def share_batch_norms_(model: nn.Module) -> None:
    """Replace every batch norm of `model`, in place, by one that all processes share; names and values stay."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                shared = SharedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
                shared.load_state_dict(child.state_dict())
                setattr(parent, name, shared.to(child.weight.device))
