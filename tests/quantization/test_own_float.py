"""A network of the user's own as float model and int8 graph: equal function, named lines, names for any batch."""

from pathlib import Path

import pytest
import torch

from edge_vit.models.own import find_network, find_own_weights
from edge_vit.quantization.graph import export_graph, plain_graph
from edge_vit.quantization.own_float import build_own, float_graph
from edge_vit.quantization.plan import RELU6, make_plan
from edge_vit.quantization.user_lines import blamed, float_lines

FILE = Path(__file__).parent.parent / "users_networks.py"


def build(function):
    own = find_network(f"{FILE}:{function}", 32)
    assert own is not None
    return build_own(own, find_own_weights(own, "auto", is_int8=False))


def line(text):
    """Return the number of the line of the users' file that holds a text."""
    return next(i for i, row in enumerate(FILE.read_text().splitlines(), 1) if text in row)


def test_the_graph_computes_what_the_network_does():
    model, source = build("small")
    pixels = torch.randint(0, 256, (3, 32, 32, 3)).float()
    with torch.no_grad():
        expected = model.module.model(((pixels / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
            [0.229, 0.224, 0.225])).permute(0, 3, 1, 2))  # fmt: skip
        for graph in (float_graph(model, 3, False), plain_graph(model.module, pixels, True)):
            assert torch.allclose(graph(pixels), expected, atol=1e-5)
    assert source.sha256 and not any("stay operators" in note for note in model.notes)


def test_an_object_with_logits_is_taken():
    model, _ = build("answering")
    assert len(model.classes) == 4


def test_ranges_have_the_same_names_for_any_batch():
    model, _ = build("small")
    one, many = (export_graph(model.module, torch.zeros(n, 32, 32, 3), n > 1) for n in (1, 2))
    assert list(make_plan(one).groups) == list(make_plan(many).groups)
    assert [name for name, _ in one.named_parameters()] == [name for name, _ in many.named_parameters()]


def test_what_stays_float_is_named_with_the_users_line():
    model, _ = build("small")
    plan = make_plan(export_graph(model.module, torch.zeros(1, 32, 32, 3)))
    lines = float_lines(plan.float_nodes, str(FILE))
    softmax = line("F.scaled_dot_product_attention")
    assert any(f"stays float: softmax, users_networks.py line {softmax}; in int8: ReLU weights" in one for one in lines)
    assert any("stays float: gelu, users_networks.py line" in one for one in lines) and "conversion" in lines[-1]


@pytest.mark.parametrize("message", ["Lowering not found: aten.i0.default", "Unsupported fx node special_i0, kind x"])
def test_what_a_runtime_refuses_is_found_in_the_users_file(message):
    model, _ = build("odd")
    found = blamed(float_graph(model, 1, False), message, str(FILE))
    assert f"special_i0 is at users_networks.py line {line('torch.special.i0')}" in found
    assert blamed(float_graph(model, 1, False), "something else", str(FILE)) == ""
    message = "Failed to run converter passes: /x/their/net.py:253:0: error: 'tfl.mul' op operands are unfit\n"
    assert blamed(float_graph(model, 1, False), message, str(FILE)).startswith("; that is net.py line 253: ")


def test_what_a_layer_gives_cut_off_at_six_has_a_range_of_its_own():
    """A network with ReLU6 behind its layers may stay far below 6; a Hardswish's gate reaches both ends."""
    from edge_vit.quantization.own_float import from_module

    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU6(), torch.nn.Conv2d(4, 4, 1), torch.nn.Hardswish(), torch.nn.Flatten()
    )
    plan = make_plan(export_graph(from_module(net.eval(), (8, 8)).module, torch.zeros(1, 8, 8, 3)))
    after_layer, gate = (group for name, group in plan.groups.items() if ".hardtanh." in name)
    assert after_layer.kind == "affine" and gate.fixed == RELU6
