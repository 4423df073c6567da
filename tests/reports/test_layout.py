"""Operators stand behind what they read, and no value's lane is taken while it is still needed."""

import random

import pytest

from edge_vit.reports.graph import describe, heat, sign
from edge_vit.reports.layout import place


def test_a_chain_stays_in_one_lane():
    placed = place([(), (0,), (1,), (2,)])
    assert [(p.column, p.lane) for p in placed] == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_a_residual_keeps_its_lane_to_the_sum():
    placed = place([(), (0,), (1,), (0, 2)])
    assert [(p.column, p.lane) for p in placed] == [(0, 0), (1, 1), (2, 1), (3, 0)]


@pytest.mark.parametrize("seed", range(30))
def test_no_two_values_share_a_lane_at_a_time(seed):
    rng = random.Random(seed)
    sources = [tuple(rng.sample(range(i), min(i, rng.randint(1, 3)))) for i in range(25)]
    placed = place(sources)
    for i, read in enumerate(sources):
        assert all(placed[s].column < placed[i].column for s in read)
    spans = []
    for i, own in enumerate(placed):
        until = max([placed[j].column for j, read in enumerate(sources) if i in read], default=own.column)
        spans.append((own.lane, own.column, max(until, own.column + 1)))
    for i, (lane, start, end) in enumerate(spans):
        for other_lane, other_start, other_end in spans[i + 1 :]:
            assert lane != other_lane or end <= other_start or other_end <= start


@pytest.mark.parametrize(
    ("kind", "letter"),
    [
        ("CONV_2D", "C"), ("DEPTHWISE_CONV_2D", "D"), ("DepthwiseConv2d", "D"), ("FULLY_CONNECTED", "L"),
        ("BATCH_MATMUL", "M"), ("BatchMatrixMultiply", "M"), ("matmul", "M"), ("softmax", "S"), ("Multiply", "×"),
        ("reduce_mean", "μ"), ("DEQUANTIZE", "f"), ("quantize", "q"), ("RESHAPE", ""), ("Transpose", ""),
        ("Concatenate2", ""),
    ],
)  # fmt: skip
def test_every_format_has_the_same_letters(kind, letter):
    assert sign(kind) == letter


def test_the_colour_of_a_cost_grows_with_it():
    assert [heat(share) for share in (None, 0.0, 0.0009, 0.001, 0.004, 0.02, 0.5)] == [0, 0, 0, 1, 2, 3, 4]


def test_an_operator_in_one_line():
    operator = {
        "kind": "CONV_2D", "precision": "int8", "name": "stem.0", "shape": [1, 8, 8, 4], "multiply_adds": 2_500_000,
        "cost_share": 0.125,
    }  # fmt: skip
    assert describe(operator) == "CONV_2D, int8, stem.0, 1 x 8 x 8 x 4, 2.50 M multiply-adds, 12.50% of the cost"
