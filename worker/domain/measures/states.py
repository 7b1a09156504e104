"""A state that holds until another one is told, such as a contract: a row for each change, not one for each answer.

An answer tells the state of one day. A row is stored only where the state differs from the row before it, so the state
of a day is the newest row up to that day. Answers of different days may come in any order, and each asked day reads as
it was told, with one exception that rows can't tell: a day whose answer repeated the row before it has no row of its
own. If the answer for an earlier day comes afterwards and differs, that day reads like this one until the next row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from worker.domain.measures.aggregation import keep_changed
from worker.domain.measures.documents import Entry
from worker.domain.measures.series import FREQUENCY, Series, of_supplier


class StateChanges(NamedTuple):
    """What an answer changes: rows that come or get another value, rows that go, and entries that came too late."""

    changed: list[Entry]
    gone: list[Entry]
    late: list[Entry]


def compare_states(entries: Iterable[Entry], stored: Mapping[str, Entry], later_keys: Collection[str]) -> StateChanges:
    """Return what these states change in the rows of ``stored``, which are all of the account's by key.

    ``later_keys``: days that a later answer has told; an entry of one of them is too late.
    """
    answered = {entry.key: entry for entry in entries}
    late = [entry for key, entry in answered.items() if key in later_keys]
    rows = {**stored, **{key: entry for key, entry in answered.items() if key not in later_keys}}
    kept: list[Entry] = []
    for key in sorted(rows):
        if not kept or not _is_same_state(rows[key], kept[-1]):
            kept.append(rows[key])
    kept_keys = {entry.key for entry in kept}
    return StateChanges(
        changed=list(keep_changed((entry for entry in kept if entry.key in answered), stored)),
        gone=[entry for key, entry in sorted(stored.items()) if key not in kept_keys],
        late=late,
    )


def state_on(day: date, rows: Sequence[Entry]) -> Entry | None:
    """Return the row in force on a day: the latest not after it, else the first; None where there is none.

    ``rows``: in key order. The first row holds for the days before it, too: a state is told only when it is asked for,
    and nothing says that it was another one before.
    """
    earlier = [row for row in rows if row.key <= day.isoformat()] or rows[:1]
    return earlier[-1] if earlier else None


def activation_in(entries: Sequence[Entry], series: Series, answered_on: date) -> str | None:
    """Return the day of activation that the newest of these readings tells; None for one that is still to come."""
    if not series.description.tells_activation:
        return None
    days = [entry.details["activated_on"] for entry in entries if entry.details and "activated_on" in entry.details]
    return next((day for day in days[-1:] if date.fromisoformat(day) <= answered_on), None)


def lacking_in(entries: Sequence[Entry], series: Series) -> list[Series]:
    """Return the series that the newest of these readings, a contract, says the meter doesn't have."""
    if not series.is_state or not entries:
        return []
    frequency = (entries[-1].details or {}).get(FREQUENCY)
    others = of_supplier(series.description.supplier)
    return [other for other in others if frequency in other.description.not_of_meters_read]


def _is_same_state(entry: Entry, other: Entry) -> bool:
    return (entry.amount, entry.details) == (other.amount, other.details)
