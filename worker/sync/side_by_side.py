"""Many windows that go the same steps side by side: who fails falls out, and no other notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from worker.domain.measures.messages import WindowJob
from worker.errors import WorkerError

T = TypeVar("T")
U = TypeVar("U")


def in_turns(origins: Iterable[WindowJob]) -> list[dict[int, WindowJob]]:
    """By place; those of one account's series, which share documents, one after the other in different turns."""
    turns: list[dict[int, WindowJob]] = []
    before: Counter[tuple[str, str]] = Counter()
    for place, origin in enumerate(origins):
        of_series = origin["account_id"], origin["series"]
        if before[of_series] == len(turns):
            turns.append({})
        turns[before[of_series]][place] = origin
        before[of_series] += 1
    return turns


def each(step: Callable[[int], U], places: Iterable[int], failed: dict[int, WorkerError]) -> dict[int, U]:
    """What a step gives for each place; where it raises, the error goes to ``failed``."""
    done: dict[int, U] = {}
    for place in places:
        try:
            done[place] = step(place)
        except WorkerError as error:
            failed[place] = error
    return done


def at_once(ask: Callable[[list[T]], list[U]], given: Mapping[int, T]) -> dict[int, U | None]:
    """What comes of asking for all; None where each must see for itself: one alone may be at fault."""
    if len(given) > 1:
        try:
            return dict(zip(given, ask([*given.values()]), strict=True))
        except WorkerError:
            pass
    return dict.fromkeys(given)
