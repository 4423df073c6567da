"""Post-training quantization: choose every activation range from calibration images."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from calibration.ranges import RangeMethod, RangeObserver, scale_zero_point
from edge_vit.quantization.plan import Plan, QParams


def calibrate(
    graph_module: GraphModule, plan: Plan, batches: Iterable[Tensor], method: RangeMethod = "mse"
) -> dict[str, QParams]:
    """Run calibration inputs through the float graph and choose a range for every group of the plan.

    Args:
        batches: Inputs of the graph, each of the batch size it was exported with.
        method: How a range is chosen from what was seen; see calibration.ranges.

    Raises:
        ValueError: If there is no batch, or a value is not finite.
    """
    observers = observe(graph_module, plan, batches)
    return {
        name: qparams_of(observer.range(method, symmetric=is_symmetric), is_symmetric)
        for name, observer in observers.items()
        for is_symmetric in [plan.groups[name].kind == "symmetric"]
    }


def observe(graph_module: GraphModule, plan: Plan, batches: Iterable[Tensor]) -> dict[str, RangeObserver]:
    """Return what was seen of every group of the plan that is not fixed; arguments and errors as of `calibrate`."""
    observers = {name: RangeObserver() for name, group in plan.groups.items() if group.kind != "fixed"}
    recorder = _Recorder(graph_module, plan, observers)
    seen = 0
    with torch.no_grad():
        for batch in batches:
            recorder.run(batch)
            seen += 1
    if not seen:
        raise ValueError("no calibration input; give a folder with at least one readable image")
    return observers


class _Recorder(Interpreter):
    """Run the graph and show every planned value to its group's observer."""

    def __init__(self, graph_module: GraphModule, plan: Plan, observers: Mapping[str, RangeObserver]) -> None:
        super().__init__(graph_module)
        self._observer_of = {
            entry: observer for name, observer in observers.items() for entry in plan.groups[name].entries
        }

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n in self._observer_of:
            self._observer_of[n].observe(value.numpy())
        return value


def qparams_of(ends: tuple[float, float], is_symmetric: bool) -> QParams:
    """Return the grid that covers a range from its lowest to its highest value."""
    scale, zero_point = scale_zero_point(*ends, symmetric=is_symmetric)
    return QParams(scale=float(scale), zero_point=int(zero_point))
