"""Tables of squares on rectangles: offsets keep their places, and everything else is loaded as it is."""

import torch

from edge_vit.layers.attention_bias import AttentionBias, offset_index, resize_bias_table
from edge_vit.models.rectangles import load_model
from edge_vit.models.sources import embedded_path, find_weights


def test_entry_of_a_rectangle_is_the_absolute_offset():
    index = offset_index((2, 3), 1)
    cells = [(y, x) for y in range(2) for x in range(3)]
    for query, (qy, qx) in enumerate(cells):
        for key, (ky, kx) in enumerate(cells):
            assert index[query, key] == abs(qy - ky) * 3 + abs(qx - kx)
    assert AttentionBias(2, (4, 3), stride=2)().shape == (2, 4, 12)


def test_a_smooth_table_is_stretched_along_each_axis():
    offsets = torch.linspace(0, 1, 12)
    table = (offsets[:, None] + 2 * offsets[None]).flatten()[None]
    got = resize_bias_table(table, (8, 16)).view(8, 16)
    expected = torch.linspace(0, 1, 8)[:, None] + 2 * torch.linspace(0, 1, 16)[None]
    torch.testing.assert_close(got, expected, rtol=0, atol=0.04)


def test_weights_of_a_square_load_into_a_rectangle():
    assert embedded_path("levit_128s", False).is_file()
    checkpoint = find_weights("levit_128s", "auto", prefer_quantized=False).checkpoint
    model, report = load_model("levit_128s", checkpoint, 10, (128, 256))
    square, _ = load_model("levit_128s", checkpoint, 10, 224)
    assert report.resized == ()  # at the size that they were made for
    ours, theirs = model.state_dict(), square.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if key.endswith("bias.table"):
            assert value.shape != theirs[key].shape and value[:, 0].equal(theirs[key][:, 0])
        else:
            assert torch.equal(value, theirs[key]), key
    with torch.no_grad():
        assert model.eval()(torch.randn(2, 3, 128, 256)).shape == (2, 10)
