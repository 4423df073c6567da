"""All that a network nobody here wrote goes through, so that plan and converters find what they know."""

from torch.fx import GraphModule

from converters.passes.activations import plain_arithmetic_, spell_out_activations_
from converters.passes.attention import batch_matmuls_, spell_out_attention_
from converters.passes.batch_norm import fold_batch_norms_, fold_scales_
from converters.passes.convolutions import fold_paddings_, number_paddings_
from converters.passes.folding import drop_broadcasts_, drop_idle_, fold_constants_
from converters.passes.in_place import without_in_place_
from converters.passes.means import plane_means_
from converters.passes.pixels import fold_normalisation_
from converters.passes.projections import split_projections_
from converters.passes.shapes import plain_moves_


def simplify_(graph: GraphModule) -> str:
    """Bring an exported graph of pixels (B, H, W, 3) into the form of our own networks; its function stays the same.

    Returns:
        "" where the normalisation of pixels is part of the first convolution, else why it stays as operators.

    Raises:
        ValueError: If it holds what has no such form; the message says what.
    """
    without_in_place_(graph)
    drop_idle_(graph)
    drop_broadcasts_(graph)
    plain_moves_(graph)
    spell_out_attention_(graph)
    fold_constants_(graph)
    number_paddings_(graph)
    plain_arithmetic_(graph)
    fold_batch_norms_(graph)
    split_projections_(graph)
    fold_scales_(graph)
    reason = fold_normalisation_(graph)
    fold_paddings_(graph)
    spell_out_activations_(graph)
    batch_matmuls_(graph)
    plane_means_(graph)
    fold_constants_(graph)
    return reason
