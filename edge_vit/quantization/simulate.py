"""Run a float graph with int8 in the layers that are chosen, without building a qdq graph for each choice.

A layer is one range of the plan with the int8 operators whose results it covers: in int8 those operators read weights
of the int8 grid and what they give is rounded to the range; in float both are as they were. With every layer chosen
the numbers are those of the qdq graph.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from edge_vit.quantization.graph import ATEN
from edge_vit.quantization.pipeline import Int8Graph
from edge_vit.quantization.plan import GEMM_OPS, Plan, QParams, RangeGroup, fused_activation, is_attention_bias

Values = dict[Node, Any]
Part = Literal["operators", "values"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One range and its operators.

    Attributes:
        name: Of the range, which is that of the first value on it.
        operators: Int8 operators whose results lie on it, in graph order; none where float operators give them.
        grid: The range itself.
        first: Place in the graph of the first node that int8 changes.
    """

    name: str
    operators: tuple[Node, ...]
    group: RangeGroup
    grid: QParams
    first: int

    @property
    def is_exact(self) -> bool:
        """Tell whether int8 changes nothing: pixels are integers already."""
        return not self.operators and all(entry.op == "placeholder" for entry in self.group.entries)


def layers_of(plan: Plan, ranges: Mapping[str, QParams], order: Mapping[Node, int]) -> tuple[Layer, ...]:
    """Return the layers of a plan in graph order."""
    operators: dict[str, list[Node]] = {name: [] for name in plan.groups}
    for node in plan.int8_nodes:
        operators[plan.group_of[fused_activation(node) or node].name].append(node)
    found = []
    for name, group in plan.groups.items():
        changed = [*group.entries, *operators[name]]
        found.append(
            Layer(
                name=name, operators=tuple(operators[name]), group=group, grid=group.fixed or ranges[name],
                first=min(order[node] for node in changed),
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda layer: layer.first))


class Simulation:
    """An int8 graph whose layers are in int8 or in float as each run asks for.

    Args:
        made: Its graph takes a fixed number of pictures, which each run must give it.
    """

    def __init__(self, made: Int8Graph) -> None:
        self.graph, self.plan = made.graph, made.plan
        self.order = {node: place for place, node in enumerate(made.graph.graph.nodes)}
        self.layers = layers_of(made.plan, made.ranges, self.order)
        self._unrounded = made.unrounded
        output = next(node for node in made.graph.graph.nodes if node.op == "output")
        (self.result,) = output.all_input_nodes

    def run(
        self,
        pixels: Tensor,
        in_int8: Collection[str],
        known: Values | None = None,
        since: int = 0,
        *,
        given: Mapping[Node, Tensor] | None = None,
        only: Part | None = None,
    ) -> Values:
        """Return the values of every node.

        Args:
            pixels: (B, H, W, 3), float, 0 to 255.
            in_int8: Names of the layers that are in int8.
            known: Values of a run that differs in nothing before node `since`; the run starts there.
            given: Values that all who read them get in place of what the graph computes, which is returned.
            only: Of the layers in int8, take the weights of their operators alone, or the rounding of values alone.
        """
        start = {} if known is None else {node: known[node] for node, place in self.order.items() if place < since}
        chosen = [layer for layer in self.layers if layer.name in in_int8]
        runner = Runner(self, chosen, given or {})
        if only == "operators":
            runner.grid_of = {}
        elif only == "values":
            runner.int8 = set()
        with torch.no_grad():
            runner.run(pixels, initial_env=start)
        return {**runner.env, **runner.computed}

    def regrid_(self, grids: Mapping[str, QParams]) -> None:
        """Give layers other ranges."""
        self.layers = tuple(replace(one, grid=grids.get(one.name, one.grid)) for one in self.layers)

    def scale_of(self, node: Node) -> float:
        """Return the scale of the range that a value lies on."""
        group = self.plan.group_of[node]
        return next(layer.grid.scale for layer in self.layers if layer.group is group)

    def values_of(self, layer: Layer) -> set[Node]:
        """Return all values on a layer's range, those that are only moved too."""
        return {node for node, group in self.plan.group_of.items() if group is layer.group}

    def logits(self, values: Values) -> Tensor:
        """Return what a run gives in the end, (B, classes)."""
        result = values[self.result]
        assert isinstance(result, Tensor)
        return result

    def float_constants(self, node: Node) -> Mapping[int, Tensor]:
        """Return the constants that an operator reads in float, by the argument's place."""
        return self._unrounded.get(self.plan.names[node], {}) if node in self.plan.names else {}


class Runner(Interpreter):
    """Run the graph, rounding the entries of the chosen layers."""

    def __init__(
        self, simulation: Simulation, chosen: Collection[Layer], given: Mapping[Node, Tensor] = MappingProxyType({})
    ) -> None:
        super().__init__(simulation.graph, garbage_collect_values=False)
        self._given = given
        self.computed: Values = {}
        self._simulation = simulation
        self.grid_of = {entry: layer.grid for layer in chosen for entry in layer.group.entries}
        for layer in chosen:  # constants that are joined to a range's values lie on it, too
            joined = [node for node in simulation.values_of(layer) if node.target == ATEN.cat.default]
            self.grid_of |= dict.fromkeys(joined, layer.grid)
        self.int8 = {node for layer in chosen for node in layer.operators}
        # The bias that is added to scores is stored in int8, whatever adds it: it goes with the scores.
        values = {value for layer in chosen for value in simulation.values_of(layer)}
        self.int8 |= {n for n in simulation.order if is_attention_bias(n) and values & set(n.all_input_nodes)}

    def compute(self, n: Node) -> Any:
        """Return what a node gives before it is rounded."""
        constants = {} if n in self.int8 else self._simulation.float_constants(n)
        if not constants:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        swapped = tuple(constants.get(place, value) for place, value in enumerate(args))
        return n.target(*swapped, **kwargs)  # type: ignore[operator]

    def run_node(self, n: Node) -> Any:
        value, grid = self.compute(n), self.grid_of.get(n)
        value = value if grid is None else rounded(value, grid)
        if n in self._given:
            self.computed[n] = value
            return self._given[n]
        return value


def rounded(value: Tensor, grid: QParams) -> Tensor:
    """Round to an int8 grid and back."""
    return torch.fake_quantize_per_tensor_affine(value, grid.scale, grid.zero_point, -128, 127)


def channel_axes(plan: Plan) -> dict[Node, int]:
    """Return the axis of the channels of what convolutions and linear layers give, and of what follows elementwise."""
    axes: dict[Node, int] = {}
    for node in plan.names:
        if node.target == ATEN.conv2d.default:
            axes[node] = 1
        elif node.target in GEMM_OPS:
            axes[node] = -1
        elif node.args and isinstance(node.args[0], Node) and node.args[0] in axes and _has_same_shape(node):
            axes[node] = axes[node.args[0]]
    return axes


def _has_same_shape(node: Node) -> bool:
    source = node.args[0]
    assert isinstance(source, Node)
    is_elementwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return is_elementwise and node.meta["val"].shape == source.meta["val"].shape
