"""Steps of many windows side by side: a window that fails is left out, and the others go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from worker.domain.measures.messages import WindowJob
from worker.errors import WorkerError

T = TypeVar("T")
U = TypeVar("U")


def in_turns(jobs: Iterable[WindowJob]) -> list[dict[int, WindowJob]]:
    """Split the jobs by place into turns; jobs of one account and series share documents, so each gets another turn."""
    turns: list[dict[int, WindowJob]] = []
    before: Counter[tuple[str, str]] = Counter()
    for place, job in enumerate(jobs):
        pair = job["account_id"], job["series"]
        if before[pair] == len(turns):
            turns.append({})
        turns[before[pair]][place] = job
        before[pair] += 1
    return turns


def run_step(step: Callable[[int], U], places: Iterable[int], failed: dict[int, WorkerError]) -> dict[int, U]:
    """Return the result of a step for each place; an error goes to ``failed`` instead."""
    done: dict[int, U] = {}
    for place in places:
        try:
            done[place] = step(place)
        except WorkerError as error:
            failed[place] = error
    return done


def at_once(ask: Callable[[list[T]], list[U]], values: Mapping[int, T]) -> dict[int, U | None]:
    """Return the result for each place of one call for all; None for all if it fails, as one value may be the cause."""
    if len(values) > 1:
        try:
            return dict(zip(values, ask([*values.values()]), strict=True))
        except WorkerError:
            pass
    return dict.fromkeys(values)
