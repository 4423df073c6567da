"""Place operators in columns and lanes: a value keeps its lane from the operator that gives it to its last reader."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where an operator stands; both count from 0."""

    column: int
    lane: int


def place(sources: Sequence[Sequence[int]]) -> list[Placed]:
    """Place operators, each after those that it reads.

    Args:
        sources: For each operator the earlier ones that it reads, by their place in the list.
    """
    columns: list[int] = []
    for read in sources:
        columns.append(1 + max((columns[i] for i in read), default=-1))
    until = list(columns)  # the column of the last reader
    last_reader = list(range(len(sources)))
    for i, read in enumerate(sources):
        for source in read:
            if columns[i] >= until[source]:
                until[source], last_reader[source] = columns[i], i
    free_from: list[int] = []  # by lane, the first column in which it is free again
    lanes = [0] * len(sources)
    for i in sorted(range(len(sources)), key=lambda i: (columns[i], i)):
        kept = [lanes[s] for s in sources[i] if last_reader[s] == i and free_from[lanes[s]] <= columns[i]]
        free = [lane for lane, column in enumerate(free_from) if column <= columns[i]]
        lane = min(kept or free or [len(free_from)])
        if lane == len(free_from):
            free_from.append(0)
        lanes[i], free_from[lane] = lane, max(until[i], columns[i] + 1)
    return [Placed(column=column, lane=lane) for column, lane in zip(columns, lanes, strict=True)]
