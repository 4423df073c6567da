"""Which line of the user's file an operator of an exported graph came from, and what to write there instead."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from torch.fx import GraphModule, Node

_PLACE = re.compile(r"([^\s'\"]+\.py):(\d+)(?::\d+)?: error")  # as LiteRT's converter says it
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
# What runs in float among integers -> what runs in int8 in its place.
_INSTEAD = {
    "layer_norm": "batch norm folds into its neighbours",
    "group_norm": "batch norm folds into its neighbours",
    "gelu": "ReLU or Hardswish",
    "softmax": "ReLU weights, edge_vit.layers.norm_block.EDGE",
    "upsample_bilinear2d": "nearest, or a transposed convolution",
}


def float_lines(nodes: Iterable[Node], file: str | None) -> list[str]:
    """Say which operators stay float among integers, the user's line of each, and what would not.

    Args:
        nodes: As `Plan.float_nodes` has them.
        file: The user's; None for the last line outside torch.
    """
    places = Counter((_name(node), line_of(node, file)) for node in nodes)
    kinds = dict.fromkeys(kind for kind, _ in places)
    lines = []
    for kind in kinds:
        found = [f"{place or 'somewhere'}{f' x {n}' if n > 1 else ''}" for (k, place), n in places.items() if k == kind]
        shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        instead = f"; in int8: {_INSTEAD[kind]}" if kind in _INSTEAD else ""
        lines.append(f"stays float: {kind}, {shown}{instead}")
    if lines:
        lines.append("each of these costs a conversion to float and back; all else that computes is int8")
    return lines


def blamed(graph: object, message: str, file: str | None) -> str:
    """Return "; it is PLACE, write ..." for an operator that a runtime's message names, "" where none is found."""
    if not isinstance(graph, GraphModule):
        return ""
    if said := _PLACE.search(message):
        return f"; that is {Path(said[1]).name} line {said[2]}: write it in other operators"
    words = set(re.findall(r"[a-z]\w+", message))
    for node in graph.graph.nodes:
        if node.op != "call_function" or not hasattr(node.target, "_opname"):
            continue
        name = _name(node)
        alike = {name, name.removeprefix("special_"), f"special_{name}", f"bessel_{name.removeprefix('special_')}"}
        if alike & words and (place := line_of(node, file)):
            return f"; {name} is at {place}: write it in sums, products, convolutions and what else the target has"
    return ""


def line_of(node: Node, file: str | None) -> str:
    """Return "net.py line 12": the last line of the user's file that led to an operator, else of any file; or ""."""
    frames = _FRAME.findall(str(node.meta.get("stack_trace") or ""))
    own = [frame for frame in frames if file is not None and Path(frame[0]).resolve() == Path(file).resolve()]
    others = [frame for frame in frames if f"{Path('/torch/')}" not in frame[0]]
    for found in (own, others, frames):
        if found:
            return f"{Path(found[-1][0]).name} line {found[-1][1]}"
    return ""


def _name(node: Node) -> str:
    return str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))
