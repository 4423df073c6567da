"""What a file says of its model, by where the weights came from."""

from converters.manifest import ClassLabel
from edge_vit.deployment.card import make_card
from edge_vit.models.published import PUBLISHED
from edge_vit.models.sources import WeightsSource, find_weights

CLASSES = (ClassLabel(id="n1", name="crane"), ClassLabel(id="n2", name="dog"), ClassLabel(id="n3", name="crane"))


def test_embedded_weights_are_ours():
    source = find_weights("levit_128s", "auto", prefer_quantized=True)
    card = make_card("levit_128s", "int8", source, CLASSES)
    assert (card.author, card.license, card.name) == ("edge_vit", "Apache-2.0", "levit_128s")
    assert card.description == "levit_128s, int8, weights: embedded:levit_128s_int8.safetensors"
    assert source.sha256.startswith(card.version) and len(card.version) == 12
    assert card.labels == ("crane (n1)", "dog", "crane (n3)")


def test_published_weights_have_their_authors_licence():
    source = WeightsSource(label=PUBLISHED["fastervit_0"].url, form="training")
    card = make_card("fastervit_0", "fp32", source, CLASSES)
    assert card.author == "NVIDIA" and "NON-COMMERCIAL" in card.license and card.version == ""


def test_of_other_weights_nothing_is_claimed():
    card = make_card("levit_128s", "fp32", WeightsSource(label="random", form="random"), CLASSES)
    assert (card.author, card.license, card.version) == ("", "", "")
