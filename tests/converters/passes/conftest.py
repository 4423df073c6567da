"""The small int8 graph that passes are tried on, and the test that each must stand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from graphs import is_state, state, targets
from torch import Tensor
from torch.fx import GraphModule

from converters.passes.graph import owned_graph


@pytest.fixture
def graph(small_qdq: GraphModule, small_example: tuple[Tensor, ...]) -> GraphModule:
    """Return a copy of the small int8 graph that a pass may change."""
    return owned_graph(small_qdq, small_example)


@pytest.fixture
def check_pass(
    graph: GraphModule, small_qdq: GraphModule, small_pictures: np.ndarray
) -> Callable[[Callable[[GraphModule], int], int], None]:
    """Return a check: a pass changes so many places of `graph`, keeps its function, and leaves `small_qdq` alone."""

    def check(pass_: Callable[[GraphModule], int], expected_changes: int) -> None:
        before, tensors = targets(small_qdq), state(small_qdq)
        assert pass_(graph) == expected_changes
        assert targets(small_qdq) == before and is_state(small_qdq, tensors)
        for picture in torch.from_numpy(small_pictures).float():
            assert torch.allclose(graph(picture[None]), small_qdq(picture[None]), rtol=0, atol=1e-6)

    return check
