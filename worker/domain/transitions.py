"""State machines as tables: the result of each event in each state."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Generic, NoReturn, TypeVar

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)
Next = TypeVar("Next")


class WrongState(ValueError):
    """An event that can't happen in the current state."""


class Transitions(dict[tuple[State, Event], Next], Generic[State, Event, Next]):
    """The result for each possible pair of state and event. Looking up any other pair raises WrongState."""

    def __init__(self, *rows: tuple[Event, Sequence[State], Next]) -> None:
        """``rows``: each has an event, the states in which it can happen, and its result."""
        super().__init__({(state, event): after for event, states, after in rows for state in states})

    def __missing__(self, row: tuple[State, Event]) -> NoReturn:
        raise WrongState(f"one that is {row[0]} can't be {row[1]}")

    def states_before(self, event: Event) -> tuple[State, ...]:
        """Return the states in which an event can happen."""
        return tuple(state for state, one in self if one is event)
