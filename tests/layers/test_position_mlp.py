"""Position networks: which coordinate goes where, in either order of tokens, and their constants."""

import pytest
import torch

from edge_vit.layers.fuse import fuse
from edge_vit.layers.position_mlp import AddConstant, PositionBias, PositionEmbedding, log_offsets
from edge_vit.layers.windows import grid_coords


def test_offsets_are_log_spaced_from_minus_one_to_one_and_pairs_find_theirs():
    offsets, index = log_offsets((3, 5), None)
    assert offsets.shape == (5 * 9, 2) and index.shape == (15, 15)
    y, x = 2 - 0, 1 - 4  # query at (2, 1), key at (0, 4)
    want = [torch.log2(1 + torch.tensor(8.0)) / 3, -torch.log2(1 + torch.tensor(8 * 3 / 4)) / 3]
    assert (y, x) == (2, -3)
    torch.testing.assert_close(offsets[index[2 * 5 + 1, 4]], torch.stack(want))
    assert not offsets[index.diagonal()].any()


@pytest.mark.parametrize("grid", [(4, 4), (2, 6)])
def test_window_order_is_a_permutation_of_reading_order(grid):
    torch.manual_seed(0)
    order = grid_coords(*grid, 2) @ torch.tensor([grid[1], 1])
    assert order[:4].tolist() == [0, 1, grid[1], grid[1] + 1] and sorted(order.tolist()) == list(range(len(order)))
    read, windowed = PositionBias(3, grid), PositionBias(3, grid, window_size=2)
    windowed.load_state_dict(read.state_dict())
    assert torch.equal(windowed(), read()[:, order][:, :, order])
    places, by_window = PositionEmbedding(8, grid), PositionEmbedding(8, grid, window_size=2)
    by_window.load_state_dict(places.state_dict())
    x = torch.randn(1, len(order), 8)
    torch.testing.assert_close(by_window(x[:, order]), places(x)[:, order])


def test_tokens_without_a_place_get_no_bias():
    bias = PositionBias(2, (3, 3), num_global=4)()
    assert bias.shape == (2, 13, 13) and not bias[:, :4].any() and not bias[:, :, :4].any()
    assert (bias[:, 4:, 4:] > 0).all() and (bias < 16).all()


def test_only_the_networks_are_stored():
    assert set(PositionBias(2, (3, 3)).state_dict()) == {"mlp.0.weight", "mlp.0.bias", "mlp.2.weight"}


def test_embedding_becomes_a_constant():
    layer = PositionEmbedding(8, (3, 4))
    x = torch.randn(2, 12, 8)
    fused = fuse(layer)
    assert isinstance(fused, AddConstant) and not list(fused.parameters())
    torch.testing.assert_close(fused(x), layer(x))


def test_a_single_cell_has_a_finite_bias():
    assert PositionBias(2, (1, 1))().isfinite().all() and PositionEmbedding(4, (1, 1)).places.isfinite().all()
