"""Blocks follow the modules' names, or where one value alone goes on; costs reach the operators that caused them."""

import pytest

from converters.network import NetworkOperator
from edge_vit.findings.network import block_name, blocks, shares


def operator(name="", sources=(), kind="ADD", multiply_adds=0):
    return NetworkOperator(
        kind=kind, name=name, precision="int8", sources=tuple(sources), shape=(1,), multiply_adds=multiply_adds,
        constant_bytes=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("model.stages.0.blocks.1.attn.q", "stages.0.blocks.1"),
        ("model.stages.2.blocks", "stages.2.blocks"),
        ("model.stages.1.downsample.attn", "stages.1.downsample"),
        ("model.stem.0", "stem"),
        ("model.head", "head"),
        ("model", ""),
        ("pixels_float", ""),
        ("", ""),
    ],
)
def test_the_block_of_a_module(module, block):
    assert block_name(module) == block


def test_blocks_by_name():
    names = [
        "pixels",
        "model.stem.0",
        "model.stem.1",
        "",
        "model.stages.0.blocks.0.q",
        "model.stages.0.blocks.0",
        "model.head",
    ]
    found = blocks([operator(name) for name in names])
    assert [(b.name, b.start, b.end) for b in found] == [
        ("stem", 0, 4), ("stages.0.blocks.0", 4, 6), ("head", 6, 7),
    ]  # fmt: skip


def test_blocks_without_names_end_where_one_value_goes_on():
    chain = [operator(sources=[i - 1] if i else []) for i in range(40)]
    chain[24] = operator(sources=[10, 23])  # what the eleventh gives is still needed here
    found = blocks(chain)
    assert [(b.start, b.end) for b in found] == [(0, 25), (25, 40)] and found[0].name == "operators 1 to 25"


def test_every_operator_is_in_one_block():
    for count in (1, 2, 15, 16, 17, 33):
        found = blocks([operator(sources=[i - 1] if i else []) for i in range(count)])
        assert [i for b in found for i in range(b.start, b.end)] == list(range(count))


def test_costs_are_multiply_adds_or_instructions():
    network = [
        operator(kind="CONV_2D", multiply_adds=30),
        operator(kind="RESHAPE"),
        operator(kind="ADD", multiply_adds=10),
    ]
    assert shares(network, None) == ([0.75, 0.0, 0.25], "multiply-adds")
    record = {
        "cpu": "cortex-a76", "instructions": 100,
        "operators": [{"kind": "CONV_2D", "instructions": 80}, {"kind": "ADD", "instructions": 15}],
    }  # fmt: skip
    assert shares(network, record) == ([0.8, None, 0.15], "instructions on cortex-a76")
