"""A range learns by LSQ's gradients, the same on every device, with no step waiting for the device."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from edge_vit.quantization.plan import QParams
from edge_vit.quantization.qat import ActivationFakeQuant, LearntGrid


def values(seed=0):
    """Values of which a third lie outside the grid that `grid` gives, beyond each of its ends."""
    return 6.0 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def grid():
    return torch.tensor([0.03], requires_grad=True), torch.tensor([17.3], requires_grad=True)


def gradients(fake_quantize, x):
    x = x.clone().requires_grad_(True)
    scale, zero_point = grid()
    y = fake_quantize(x, scale, zero_point)
    y.backward(torch.sin(torch.arange(y.numel(), dtype=torch.float32)).view_as(y))
    return y.detach(), x.grad, scale.grad, zero_point.grad


def test_the_operator_for_gpus_computes_what_torchs_does():
    ours = gradients(lambda x, s, z: LearntGrid.apply(x, s, z, 0.01), values())
    torchs = gradients(
        lambda x, s, z: torch._fake_quantize_learnable_per_tensor_affine(x, s, z, -128, 127, 0.01), values()
    )
    assert 0.2 < float((torchs[1] == 0).float().mean()) < 0.6
    for mine, theirs in zip(ours, torchs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_operator_for_gpus_reads_nothing_back():
    """Reading a number back makes the CPU wait until the GPU has done all that it was given."""
    x = values().requires_grad_(True)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        LearntGrid.apply(x, *grid(), 0.01).sum().backward()
    names = {event.key for event in seen.key_averages()}
    assert "aten::round" in names and not names & {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero"}


@pytest.mark.parametrize("kind", ["affine", "symmetric", "fixed"])
def test_a_frozen_range_stays_and_passes_gradients_on(kind):
    fake_quant = ActivationFakeQuant(QParams(scale=0.05, zero_point=0 if kind == "symmetric" else 3), kind)
    x = values().requires_grad_(True)
    fake_quant(x).square().sum().backward()
    assert (fake_quant.log_growth.grad is not None) == (kind != "fixed")
    assert (fake_quant.zero_point.grad is not None) == (kind == "affine")
    learnt = fake_quant(values()).detach()
    fake_quant.zero_grad()
    fake_quant.freeze()
    x.grad = None
    fake_quant(x).square().sum().backward()
    assert fake_quant.log_growth.grad is None and fake_quant.zero_point.grad is None and x.grad.abs().sum() > 0
    assert torch.equal(fake_quant(values()), learnt)


def test_processes_that_share_a_batch_learn_what_one_would():
    """Gradients are averaged over the processes; the loss is a mean over the batch."""

    def range_gradients(parts):
        found = []
        for part in parts:
            fake_quant = ActivationFakeQuant(QParams(scale=0.03, zero_point=5), "affine", num_processes=len(parts))
            fake_quant(part).square().mean().backward()
            found.append((fake_quant.log_growth.grad, fake_quant.zero_point.grad))
        return [torch.stack(gradient).mean(0) for gradient in zip(*found, strict=True)]

    for whole, shared in zip(range_gradients([values()]), range_gradients(values().chunk(2)), strict=True):
        torch.testing.assert_close(whole, shared, rtol=1e-5, atol=1e-7)
