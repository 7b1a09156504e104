"""What travels between the four tasks of one window: JSON-able, compact, bounded, nothing personal.

At most 7 days of load curve or 365 days of daily values.  Readings are ``[first minute since 1970, minutes,
milliwatt-hours]``; entries are the arrays of ``documents.Entry``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypedDict

from worker.domain.measures.documents import (
    USUAL_STEP_MINUTES,
    Entry,
    period_key,
    round_as_stored,
    round_to,
    stored_place,
)
from worker.domain.measures.readings import PARIS, DateWindow, IntervalReading, Period, Series

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
NIGHTLY: Final = "nightly"


class WindowJob(TypedDict):
    """Which window this is about, and in which run."""

    account_id: str
    series: str
    start: str
    end: str
    run_id: str
    claim: str | None  # the note in ``inflight:*`` that this chain holds, released at its end


class AnswerFacts(TypedDict):
    """What the answer told, carried along unchanged: readings taken, points kept out (V4, K2)."""

    fetched: int
    asked_at: float  # seconds since 1970
    fetched_at: str  # the same, UTC, as documents note their ``updated_at``
    dropped: int
    differing: int
    last_day: str | None  # the last civil day with a reading
    floor: str | None  # first day the supplier has anything of, where this window found out
    open: list[list[int]]  # days of the window that are not whole (completeness.pack_open); told by filter_known


class Fetched(WindowJob):
    """What ``fetch`` hands on."""

    readings: list[list[int]]
    facts: AnswerFacts


class Changes(WindowJob):
    """What ``filter_known`` hands on: the changed inputs, and what their totals need.

    ``stored_totals``: the touched totals with the revisions they had BEFORE the inputs were read (A5).
    ``rest``: by period and key, the sum of the stored inputs that are not being replaced.
    """

    changed: list[list[Any]]
    unchanged: int
    stored_totals: dict[str, list[list[Any]]]
    rest: dict[str, dict[str, int]]
    facts: AnswerFacts


class Writes(WindowJob):
    """What ``aggregate`` hands on: all that has to be written, and nothing else."""

    changed: list[list[Any]]
    totals: dict[str, list[list[Any]]]
    unchanged: int
    facts: AnswerFacts


class WindowResult(WindowJob):
    """What came of the window, counted in documents over all doctypes."""

    created: int
    updated: int
    unchanged: int
    facts: AnswerFacts


def origin_of(batch: WindowJob) -> WindowJob:
    """Just the part that says which window this is."""
    return WindowJob(
        account_id=batch["account_id"],
        series=batch["series"],
        start=batch["start"],
        end=batch["end"],
        run_id=batch["run_id"],
        claim=batch["claim"],
    )


def split_claim(claim: str) -> tuple[str, str]:
    """A claim ``<scope>/<what>``: what is in flight, within a series or the whole ``account``.

    All nights have one: what an older one has in flight serves the newer.
    """
    scope, what = split_run(claim)
    return scope, NIGHTLY if what.startswith(f"{NIGHTLY}:") else what


def split_run(claim: str) -> tuple[str, str]:
    """The scope, and the run by its whole name."""
    scope, _, run = claim.partition("/")
    return scope, run


def night_of(claim: str | None) -> date | None:
    """The night of a claim of its look-back, ``daily/nightly:2024-07-25``; None for all others."""
    kind, _, name = split_run(claim or "")[1].partition(":")
    return date.fromisoformat(name) if kind == NIGHTLY and name else None


def series_of(batch: WindowJob) -> Series:
    return Series(batch["series"])


def window_of(batch: WindowJob) -> DateWindow:
    return DateWindow(date.fromisoformat(batch["start"]), date.fromisoformat(batch["end"]))


def pack_readings(readings: Iterable[IntervalReading]) -> list[list[int]]:
    return [
        [_minute(reading.start, reading.start.fold), reading.length // _MINUTE, reading.milliwatt_hours]
        for reading in readings
    ]


@lru_cache(maxsize=8192)  # all accounts of a night have the same steps
def _minute(start: datetime, fold: int) -> int:
    """``fold`` is told apart: to Python the two passes of the autumn hour are one and the same."""
    return (start.astimezone(UTC) - _EPOCH) // _MINUTE


def unpack_readings(rows: Iterable[list[int]]) -> list[IntervalReading]:
    return [IntervalReading(_local(start), minutes * _MINUTE, energy) for start, minutes, energy in rows]


def unpack_as_entries(rows: Iterable[list[int]], period: Period) -> list[Entry]:
    """As ``to_entries(unpack_readings(rows), period)``, without the moments between."""
    if period is Period.DAY:
        return [Entry(_day_key(start), round_as_stored(energy, period)) for start, _, energy in sorted(rows)]
    place = stored_place(period)
    return [
        Entry(_minute_key(start), round_to(energy, place), None if minutes == USUAL_STEP_MINUTES else minutes)
        for start, minutes, energy in sorted(rows)
    ]


def _local(minute: int) -> datetime:
    return (_EPOCH + minute * _MINUTE).astimezone(PARIS)


# All accounts of a night have the same steps.  One function a period: an enum's hash costs more than the rest.
@lru_cache(maxsize=8192)
def _minute_key(minute: int) -> str:
    return period_key(_local(minute), Period.MINUTE)


@lru_cache(maxsize=8192)
def _day_key(minute: int) -> str:
    return period_key(_local(minute), Period.DAY)


def pack_entries(entries: Iterable[Entry]) -> list[list[Any]]:
    return [list(entry) for entry in entries]


def unpack_entries(rows: Iterable[list[Any]]) -> list[Entry]:
    return [Entry(*row) for row in rows]
