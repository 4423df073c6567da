"""The layer that loses accuracy is named."""

import torch

from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.plan import QParams, make_plan
from edge_vit.quantization.quantizer import quantize_graph
from edge_vit.quantization.sensitivity import layer_sqnr


def test_a_ruined_range_is_found(pixel_model, ranges, pictures):
    """Give one layer a grid far too coarse: it must stand first in the list."""
    culprit = "model.stages.1.blocks.1.mlp.fc1.linear.0"
    ruined = dict(ranges)
    ruined[culprit] = QParams(scale=50.0 * ranges[culprit].scale, zero_point=ranges[culprit].zero_point)
    exported = export_graph(pixel_model, torch.zeros(1, 64, 64, 3))
    losses = layer_sqnr(pixel_model, quantize_graph(exported, make_plan(exported), ruined), pictures[:4])
    assert losses[0][0] == culprit and losses[0][1] > 15.0, losses[:4]
    assert len(losses) > 150
