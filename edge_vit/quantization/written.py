"""A written file beside the graph that it was made from, operator by operator, on the same pictures."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from converters.grids import Int8Operator
from converters.passes.grids import operators_of
from converters.sqnr import ratio_db
from edge_vit.quantization.simulate import Simulation

_ORDERS = ((0, 2, 3, 1), (0, 3, 1, 2))  # of axes, in which formats give a value: channels last, channels first


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenLayer:
    """One int8 operator of a file; ratios are signal to noise in dB, infinite without noise.

    Attributes:
        name: Of the value in the graph; `in_file` is the file's name of the operator.
        steps: How many steps of its grid the file's value is at most from what the graph's operator makes of the same
            inputs, those that the file had. Kernels round otherwise by one step; more is a fault of the runtime's.
        off: Share of the values that are not equal in this sense, 0 to 1.
        graph_db: The file's value against the int8 graph's, with all differences before it.
        float_db: The file's value against the float network's.
        quantization_db: The graph's value against the float network's: what int8 costs anyway.
    """

    name: str
    in_file: str
    kind: str
    steps: int
    off: float
    graph_db: float
    float_db: float
    quantization_db: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A file's operators in the graph's order, and those that one of the two does not have, in words."""

    layers: tuple[WrittenLayer, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    num_images: int


def compare_written(
    simulation: Simulation,
    quantized: GraphModule,
    operators: Sequence[Int8Operator],
    run: Callable[[np.ndarray], Sequence[np.ndarray]],
    pictures: Iterable[np.ndarray],
) -> Written:
    """Compare what each int8 operator of a file gives with the graph's and the float network's value.

    Operators are matched by what formats must keep: kind, weights and grids.

    Args:
        simulation: Of a graph that takes one picture.
        quantized: The qdq graph that it simulates.
        operators: The file's, in the order in which `run` gives their values.
        run: One picture (1, H, W, 3), uint8, to the operators' values, as floats.
        pictures: (H, W, 3), uint8.
    """
    waiting: dict[object, list[int]] = defaultdict(list)
    for place, operator in enumerate(operators):
        waiting[operator.key].append(place)
    nodes = {node.name: node for node in simulation.order}
    pairs, missing = [], []
    for operator, node in operators_of(quantized):
        if waiting[operator.key]:
            pairs.append((nodes[node.name], waiting[operator.key].pop(0)))
        else:
            missing.append(str(operator))
    every = [layer.name for layer in simulation.layers]
    sums, steps, off = np.zeros((len(pairs), 5)), np.zeros(len(pairs), np.int64), np.zeros(len(pairs))
    count = 0
    for picture in pictures:
        images = torch.from_numpy(picture[None]).float()
        exact, int8 = simulation.run(images, ()), simulation.run(images, every)
        values = run(picture[None])
        given = {node: _like(int8[node], values[place]) for node, place in pairs}
        from_same = simulation.run(images, every, given=given)
        for row, (node, _) in enumerate(pairs):
            sums[row] += _energies(exact[node], int8[node], given[node])
            apart = ((from_same[node] - given[node]).abs() / simulation.scale_of(node)).round()
            steps[row] = max(steps[row], int(apart.max()))
            off[row] += float((apart > 0).float().mean())
        count += 1
    names = simulation.plan.names
    layers = tuple(
        WrittenLayer(
            name=names[node], in_file=operators[place].name, kind=operators[place].kind,
            steps=int(steps[i]), off=float(off[i]) / max(count, 1),
            graph_db=ratio_db(row[1], row[2]), float_db=ratio_db(row[0], row[3]),
            quantization_db=ratio_db(row[0], row[4]),
        )
        for i, (row, (node, place)) in enumerate(zip(sums, pairs, strict=True))
    )  # fmt: skip
    extra = tuple(str(operators[place]) for places in waiting.values() for place in places)
    return Written(layers=layers, missing=tuple(missing), extra=extra, num_images=count)


def _energies(exact: Tensor, int8: Tensor, given: Tensor) -> list[float]:
    """Return the energies of the float and the int8 value and of file - int8, file - float and int8 - float."""
    parts = (exact, int8, given - int8, given - exact, int8 - exact)
    return [float(part.double().square().sum()) for part in parts]


def _like(value: Tensor, given: np.ndarray) -> Tensor:
    """Bring a file's value into the graph's shape; of the orders of axes that fit, the one that is nearest.

    Raises:
        RuntimeError: If it has another number of elements.
    """
    flat = torch.from_numpy(np.ascontiguousarray(given, np.float32))
    if flat.numel() != value.numel():
        raise RuntimeError(f"the file gives {list(given.shape)} where its graph has {list(value.shape)}")
    found = [flat.reshape(value.shape)]
    if value.dim() == 4:
        for order in _ORDERS:
            back = [order.index(axis) for axis in range(4)]
            found.append(flat.reshape([value.shape[axis] for axis in order]).permute(back))
    return min(found, key=lambda one: float((one - value).square().sum()))
