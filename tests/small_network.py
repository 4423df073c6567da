"""What is known of the network that tests/converters lower to every format."""

from pathlib import Path

from converters.network import read_network

# Of SmallNet on 16 x 16 pixels: two convolutions, four linear layers over 16 places, two products, the head.
MULTIPLY_ADDS = 8 * 8 * 8 * 27 + 4 * 4 * 16 * 72 + 4 * 16 * 16 * 16 + 2 * 16 * 16 * 16 + 16 * 5


def check(path: Path) -> None:
    """Assert that a file holds SmallNet, wholly connected."""
    found = read_network(path)
    assert sum(operator.multiply_adds for operator in found) == MULTIPLY_ADDS
    assert [i for i, operator in enumerate(found) if not operator.sources] == [0], "all come from the input"
    assert all(source < i for i, operator in enumerate(found) for source in operator.sources)
    read = {source for operator in found for source in operator.sources}
    assert set(range(len(found))) - read <= {len(found) - 2, len(found) - 1}, "only what comes out is read by nobody"
    precisions = [operator.precision for operator in found if "softmax" in operator.kind.lower()]
    assert precisions in (["float32"], ["fp16"]) and sum(operator.constant_bytes for operator in found) > 3000
