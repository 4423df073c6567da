"""Which parameter learns how fast."""

import pytest
import torch
from torch import nn

from edge_vit.models import create_model
from edge_vit.training.groups import USUAL_WEIGHT, block_of, is_head, lr_scales, make_optimizer


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("stem.2.norm.weight", "stem.2"),
        ("stages.0.blocks.1.attn.qkv.0.linear.weight", "stages.0.blocks.1"),
        ("stages.1.downsample.mlp.fc1.linear.weight", "stages.1"),
        ("stages.2.blocks.blocks.3.mlp.fc1.weight", "stages.2.blocks.blocks.3"),
        ("norm.weight", "norm"),
    ],
)
def test_blocks(name, block):
    assert block_of(name) == block and not is_head(name)


@pytest.mark.parametrize(
    ("name", "num_blocks"), [("levit_128s", 15), ("efficientvit_m0", 12), ("fastervit_edge_0", 15)]
)
def test_the_rate_falls_block_by_block(name, num_blocks):
    names = [name for name, _ in create_model(name, 10, 224).named_parameters()]
    scales = lr_scales(names, 0.5)
    assert {scales[name] for name in names if is_head(name)} == {1.0}
    rest = [scales[name] for name in names if not is_head(name)]
    assert rest[0] == 0.5**num_blocks and rest[-1] == 0.5 and len(set(rest)) == num_blocks
    assert set(lr_scales(names, 1.0).values()) == {1.0}


def test_small_weights_without_a_batch_norm_take_small_steps():
    model = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Linear(8, 8)})
    nn.init.constant_(model["a"].weight, 10 * USUAL_WEIGHT)
    nn.init.constant_(model["b"].weight, -USUAL_WEIGHT / 50)
    optimizer = make_optimizer(model, 1e-3, 0.05, is_folded=True)
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    scales = {name: found[id(p)]["lr_scale"] for name, p in model.named_parameters()}
    assert scales == {"a.weight": 1.0, "a.bias": 1.0, "b.weight": pytest.approx(1 / 50), "b.bias": 1.0}
    assert found[id(model["b"].weight)]["weight_decay"] == 0.05 and found[id(model["b"].bias)]["weight_decay"] == 0.0
    plain = make_optimizer(model, 1e-3, 0.05)
    assert {group["lr_scale"] for group in plain.param_groups} == {1.0} and len(plain.param_groups) == 2
    assert sum(p.numel() for group in plain.param_groups for p in group["params"]) == sum(
        p.numel() for p in model.parameters()
    )
    assert torch.equal(model["a"].weight, torch.full((8, 8), 10 * USUAL_WEIGHT))
