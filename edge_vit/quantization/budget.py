"""Which operators stay in float, so that int8 loses no more than it may, at the least cost.

Each layer offers two concessions. "weights": its operators compute in float, what they give is rounded as before.
"value": what they give is not rounded, so that those who read it compute in float too. What a concession gains is the
noise at the logits that it takes away, each measured alone; what it costs is the difference of `costs.estimate`.
Concessions are granted in the order of gain per cost, as few as keep the drop of top-1 within the budget.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from edge_vit.quantization.costs import estimate
from edge_vit.quantization.pipeline import Int8Graph, leave_float
from edge_vit.quantization.plan import Plan, make_plan
from edge_vit.quantization.simulate import Layer, Simulation, Values

Kind = Literal["weights", "value"]
_MOST_PRUNED = 8  # concessions up to which each is tried without
_MOST_DIVIDED = 32  # layers whose noise is divided between weights and values
_LEAST_COST = 100.0  # instructions: what seems to cost nothing must not come before what gains a lot


@dataclass(frozen=True, kw_only=True, slots=True)
class Concession:
    """Operators that may stay in float.

    Attributes:
        layer: The layer that it is for; `kind` as the module says.
        operators: All that compute in float then.
        noise_share: Of all the noise that the layers, each alone, make at the logits, 0 to 1.
        instructions: More than in int8, alone.
    """

    layer: str
    kind: Kind
    operators: tuple[str, ...]
    noise_share: float
    instructions: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One network that was tried: the first `granted` concessions, or without some of them."""

    granted: int
    drop_points: float
    instructions: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a search found; instructions are estimates on one core."""

    concessions: tuple[Concession, ...]
    steps: tuple[Step, ...]
    drop_points: float
    instructions: float
    int8_instructions: float

    @property
    def operators(self) -> tuple[str, ...]:
        """Return all operators that stay in float, sorted."""
        return tuple(sorted({name for one in self.concessions for name in one.operators}))


def rank(
    made: Int8Graph, single: tuple[torch.fx.GraphModule, Plan], pictures: Sequence[np.ndarray]
) -> list[Concession]:
    """Return every concession, the one that gains most for its cost first.

    Args:
        single: The float graph, exported for one picture, and its plan: costs are counted on it.
        pictures: Pixels (B, H, W, 3), uint8.
    """
    simulation = Simulation(made)
    noise = _noise_by_part(simulation, pictures)
    total = sum(map(sum, noise.values())) or 1.0
    graph, plan = single
    base = estimate(graph, plan)
    found = []
    for layer in simulation.layers:
        readers = _int8_readers(simulation, layer)
        own = tuple(made.plan.names[node] for node in layer.operators)
        by_weights, by_value = noise[layer.name]
        of_readers = sum(noise[_layer_of(simulation, node)][0] for node in readers)
        around = (*own, *(made.plan.names[node] for node in readers))
        offers: tuple[tuple[Kind, tuple[str, ...], float], ...] = (
            ("weights", own, by_weights),
            ("value", tuple(dict.fromkeys(around)), by_weights + by_value + of_readers),
        )
        for kind, operators, gain in offers:
            if operators and gain > 0.0:
                cost = estimate(graph, make_plan(graph, keep_float=operators)) - base
                found.append(
                    Concession(
                        layer=layer.name, kind=kind, operators=operators, noise_share=gain / total, instructions=cost
                    )
                )
    return sorted(found, key=lambda one: (-one.noise_share / max(one.instructions, _LEAST_COST), one.layer, one.kind))


def search(
    made: Int8Graph,
    single: tuple[torch.fx.GraphModule, Plan],
    offer: Callable[[], Sequence[Concession]],
    drop_of: Callable[[Int8Graph], float],
    max_drop: float,
    say: Callable[[str], None] = lambda line: None,
) -> Found:
    """Grant as few concessions as keep the drop within the budget.

    Doubling finds a number that suffices, halving the least one; then each that can be spared is taken back.

    Args:
        offer: Returns all concessions, as `rank` orders them; not called where int8 alone is good enough.
        drop_of: Measures a network's drop of top-1, in points.
        max_drop: The budget, in points.
    """
    steps: list[Step] = []

    def cost(chosen: Sequence[Concession]) -> float:
        graph, _ = single
        return estimate(graph, make_plan(graph, keep_float={name for one in chosen for name in one.operators}))

    def suffices(chosen: Sequence[Concession]) -> bool:
        operators = {name for one in chosen for name in one.operators}
        drop = drop_of(leave_float(made, operators) if operators else made)
        steps.append(Step(granted=len(chosen), drop_points=drop, instructions=cost(chosen)))
        say(f"{len(chosen)} concessions: drop {drop:.2f} points, {steps[-1].instructions / 1e6:.1f} M instructions")
        return drop <= max_drop

    chosen: list[Concession] = []
    if not suffices(()):
        chosen = _fewest(offer(), suffices)
        if 1 < len(chosen) <= _MOST_PRUNED:
            chosen = _pruned(chosen, suffices)
    if steps[-1].drop_points > max_drop and not chosen:
        raise ValueError(
            f"the drop is {steps[-1].drop_points:.2f} points whatever stays in float, and the budget {max_drop:g}: the "
            "pictures are too few to tell; give more with --data"
        )
    last = next(step for step in reversed(steps) if step.granted == len(chosen) and step.drop_points <= max_drop)
    return Found(
        concessions=tuple(chosen),
        steps=tuple(steps),
        drop_points=last.drop_points,
        instructions=cost(chosen),
        int8_instructions=cost(()),
    )


def _fewest(concessions: Sequence[Concession], suffices: Callable[[Sequence[Concession]], bool]) -> list[Concession]:
    """Return the first concessions that suffice, as few as they are; none where all do not."""
    too_few, enough = 0, min(1, len(concessions))
    while not suffices(concessions[:enough]):
        if enough >= len(concessions):
            return []
        too_few, enough = enough, min(2 * enough, len(concessions))
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if suffices(concessions[:middle]):
            enough = middle
        else:
            too_few = middle
    return list(concessions[:enough])


def _pruned(chosen: list[Concession], suffices: Callable[[Sequence[Concession]], bool]) -> list[Concession]:
    """Take back what can be spared, the dearest first."""
    for one in sorted(chosen, key=lambda one: -one.instructions):
        rest = [other for other in chosen if other is not one]
        if rest and suffices(rest):
            chosen = rest
    return chosen


def _noise_by_part(simulation: Simulation, pictures: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return the energy at the logits that each layer's int8 weights make, and that rounding its values makes.

    Of layers that make little, all counts as the rounding's.
    """
    whole = dict.fromkeys((layer.name for layer in simulation.layers), 0.0)
    for images, exact, logits in _float_runs(simulation, pictures):
        for layer in simulation.layers:
            values = simulation.run(images, (layer.name,), exact, layer.first)
            whole[layer.name] += float((simulation.logits(values) - logits).double().square().sum())
    loudest = sorted(whole, key=lambda name: -whole[name])[:_MOST_DIVIDED]
    parts = {name: (0.0, energy) for name, energy in whole.items()}
    by_weights = dict.fromkeys(loudest, 0.0)
    for images, exact, logits in _float_runs(simulation, pictures):
        for layer in simulation.layers:
            if layer.name in by_weights and layer.operators:
                values = simulation.run(images, (layer.name,), exact, layer.first, only="operators")
                by_weights[layer.name] += float((simulation.logits(values) - logits).double().square().sum())
    return parts | {name: (energy, max(whole[name] - energy, 0.0)) for name, energy in by_weights.items()}


def _float_runs(
    simulation: Simulation, pictures: Sequence[np.ndarray]
) -> Iterator[tuple[torch.Tensor, Values, torch.Tensor]]:
    for pixels in pictures:
        images = torch.from_numpy(pixels).float()
        exact = simulation.run(images, ())
        yield images, exact, simulation.logits(exact)


def _int8_readers(simulation: Simulation, layer: Layer) -> list[torch.fx.Node]:
    values = simulation.values_of(layer)
    return [node for node in simulation.plan.int8_nodes if values & set(node.all_input_nodes)]


def _layer_of(simulation: Simulation, operator: torch.fx.Node) -> str:
    return next(layer.name for layer in simulation.layers if operator in layer.operators)
