"""An artefact's network as a report shows it: operators in blocks, each with its share of the cost."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from converters.network import NetworkOperator
from edge_vit.emulation.attribution import match

_MIN_BLOCK = 16  # operators, where their names say nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Operators that follow one another and belong together; `end` is the first that does not."""

    name: str
    start: int
    end: int


def blocks(operators: Sequence[NetworkOperator]) -> list[Block]:
    """Divide a network by the modules that its operators come from, or where one value alone goes on."""
    named = sum("." in operator.name for operator in operators)
    return _by_name(operators) if 2 * named >= len(operators) else _by_cuts(operators)


def block_name(module: str) -> str:
    """Return the block that a module belongs to, "" where its name does not say.

    "model.stages.0.blocks.1.attn.q" -> "stages.0.blocks.1"; "model.stem.0" -> "stem"
    """
    parts = module.split(".")
    parts = parts[1:] if parts[0] == "model" else parts if len(parts) > 1 else []
    numbers = [i for i, part in enumerate(parts) if part.isdecimal()]
    if len(numbers) > 1:
        return ".".join(parts[: numbers[1] + 1])
    if numbers and numbers[0] > 0:
        is_last = numbers[0] == len(parts) - 1
        return ".".join(parts[: numbers[0]] if is_last else parts[: numbers[0] + 2])
    return parts[0] if parts else ""


def shares(operators: Sequence[NetworkOperator], record: dict[str, Any] | None) -> tuple[list[float | None], str]:
    """Return each operator's share of the cost, 0 to 1, and what the cost is.

    Args:
        record: Instructions by operator, as bench_arm counts them; None counts multiply-adds instead.
    """
    if record is None or not record.get("operators"):
        total = sum(operator.multiply_adds for operator in operators)
        return [operator.multiply_adds / max(total, 1) for operator in operators], "multiply-adds"
    executed = record["operators"]
    places = match([(entry["kind"],) for entry in executed], [operator.kind for operator in operators])
    found: list[float | None] = [None] * len(operators)
    for entry, place in zip(executed, places, strict=True):
        if place is not None:
            found[place] = entry["instructions"] / record["instructions"]
    return found, f"instructions on {record['cpu']}"


def _by_name(operators: Sequence[NetworkOperator]) -> list[Block]:
    found: list[Block] = []
    name, start = "input", 0
    for i, operator in enumerate(operators):
        own = block_name(operator.name) or name
        if own != name:
            found += [Block(name=name, start=start, end=i)] if i > start else []
            name, start = own, i
    return _joined([*found, Block(name=name, start=start, end=len(operators))])


def _joined(parts: Sequence[Block]) -> list[Block]:
    """Join a lone operator, such as the turn between two stages, with what follows it."""
    found: list[Block] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and (last.end - last.start == 1 or last.name == part.name):
            found[-1] = Block(name=part.name, start=last.start, end=part.end)
        else:
            found.append(part)
    return found


def _by_cuts(operators: Sequence[NetworkOperator]) -> list[Block]:
    last_reader = list(range(len(operators)))
    for i, operator in enumerate(operators):
        for source in operator.sources:
            last_reader[source] = i
    ends = []
    start = open_until = 0
    for i in range(len(operators)):
        is_cut = open_until <= i
        open_until = max(open_until, last_reader[i])
        if is_cut and i - start + 1 >= _MIN_BLOCK:
            ends.append(i + 1)
            start = i + 1
    bounds = [0, *ends, *([len(operators)] if not ends or ends[-1] < len(operators) else [])]
    return [Block(name=f"operators {a + 1} to {b}", start=a, end=b) for a, b in itertools.pairwise(bounds)]
