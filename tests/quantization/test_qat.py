"""A range learns by LSQ's gradients, the same on every device, with no step waiting for the device."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from edge_vit.quantization import qat
from edge_vit.quantization.plan import QParams
from edge_vit.quantization.qat import ActivationFakeQuant, LearntGrid, WeightFakeQuant, weight_scale


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


@pytest.fixture(params=["cpu", "as on a GPU"])
def device(request, monkeypatch):
    """A GPU's operators take the grid's ends as tensors."""
    if request.param != "cpu":
        monkeypatch.setattr(qat, "_can_read", lambda x: False)


def test_the_operator_computes_what_torchs_does(device):
    ours = gradients(lambda x, s, z: LearntGrid.apply(x, s, z, 0.01), values())
    torchs = gradients(
        lambda x, s, z: torch._fake_quantize_learnable_per_tensor_affine(x, s, z, -128, 127, 0.01), values()
    )
    assert 0.2 < float((torchs[1] == 0).float().mean()) < 0.6
    for mine, theirs in zip(ours, torchs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_operator_reads_nothing_back(monkeypatch):
    """Reading a number back makes the CPU wait until the GPU has done all that it was given."""
    monkeypatch.setattr(qat, "_can_read", lambda x: False)
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


def test_halves_round_as_torchs_do(device):
    """At the ends of the grid too: 127.5 steps become 127, not 128."""
    x = torch.tensor([-129.0, -128.5, -128.4, -0.5, 0.5, 1.5, 127.4, 127.5, 128.0])
    mine = LearntGrid.apply(x, torch.ones(1), torch.zeros(1), 1.0)
    assert torch.equal(mine, torch.fake_quantize_per_tensor_affine(x, 1.0, 0, -128, 127))


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 3, 3)])
def test_weights_are_rounded_as_torch_does(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    with torch.no_grad():
        weight[1] *= 1e-9
    scale = weight_scale(weight)
    theirs = torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros_like(scale).int(), 0, -127, 127)
    mine = WeightFakeQuant()(weight)
    assert torch.equal(mine, theirs) and int((mine / scale.view(-1, *[1] * (len(shape) - 1))).abs().max()) == 127
    gradient = torch.randn(shape)
    mine.backward(gradient)
    assert torch.equal(weight.grad, gradient)
