"""Pure functions between the reads and the writes of one window: what changed, and what has to be written.

Used by ``worker.sync.window``, whose docstring explains the order of reads and writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from worker.domain.measures import messages
from worker.domain.measures.aggregation import keep_different, total_entries, total_key
from worker.domain.measures.completeness import covered_time_by_day, pack_open_days
from worker.domain.measures.documents import (
    Entry,
    key_of,
    key_range,
    period_key,
    to_document,
    to_entry,
    to_timestamp,
)
from worker.domain.measures.filtering import keep_changed
from worker.domain.measures.messages import AnswerFacts, Changes, WindowJob, Writes
from worker.domain.measures.readings import DateWindow, IntervalReading, Period, Series
from worker.stores.measures.base import ByPeriod, Document


class Written(NamedTuple):
    """The entries of a window that were written and those that lost a race, by doctype, readings first."""

    written: dict[Period, list[Entry]]
    conflicting: dict[Period, list[Entry]]


def compare_with_stored(
    job: WindowJob, entries: Sequence[Entry], facts: AnswerFacts, documents: ByPeriod, now: datetime
) -> Changes:
    """Return the entries that the store lacks or has with another value, and what their totals need.

    ``documents``: the stored readings and totals of the window's periods.
    """
    series, window = messages.series_of(job), messages.window_of(job)
    stored_totals = {period: [to_entry(document) for document in documents[period]] for period in series.totals}
    inputs = [to_entry(document) for document in documents[series.inputs]]
    newer_keys = _keys_of_newer_readings(documents[series.inputs], facts["fetched_at"], to_timestamp(now))
    candidates = [entry for entry in entries if entry.key not in newer_keys]
    changed = keep_changed(candidates, {entry.key: entry for entry in inputs})
    replaced_keys = {entry.key for entry in changed}
    rest = [entry for entry in inputs if entry.key not in replaced_keys]
    covered = covered_time_by_day(series, [*changed, *_entries_within(rest, series, window)])
    return Changes(
        **messages.job_of(job),
        changed=messages.pack_entries(changed),
        unchanged=len(entries) - len(changed),
        stored_totals={period.value: messages.pack_entries(totals) for period, totals in stored_totals.items()},
        rest={period.value: _sums_within(total_entries(rest, period), period, window) for period in series.totals},
        facts={**facts, "open": pack_open_days(window, covered)},
    )


def compute_writes(changes: Changes, written_keys: Collection[str]) -> Writes:
    """Compute the touched totals and return those that differ from the store, together with the changed readings.

    ``written_keys``: keys of readings that this run has written already.
    """
    changed = messages.unpack_entries(changes["changed"])
    changed_keys = {*written_keys, *(entry.key for entry in changed)}
    totals: dict[str, list[list[Any]]] = {}
    unchanged = changes["unchanged"]
    for period in messages.series_of(changes).totals:
        sums = _add_sums(changes["rest"][period.value], total_entries(changed, period))
        stored = messages.unpack_entries(changes["stored_totals"][period.value])
        touched = {total_key(key, period) for key in changed_keys}
        different = keep_different(sums, {entry.key: entry for entry in stored}, period, touched)
        totals[period.value] = messages.pack_entries(different)
        unchanged += len(sums) - len(different)
    return Writes(
        **messages.job_of(changes),
        changed=changes["changed"],
        totals=totals,
        unchanged=unchanged,
        facts=changes["facts"],
    )


def entries_in_write_order(writes: Writes) -> Iterator[tuple[Period, list[Entry]]]:
    """Yield the entries of each doctype, readings before the totals that are made of them."""
    series = messages.series_of(writes)
    yield series.inputs, messages.unpack_entries(writes["changed"])
    for period in series.totals:
        yield period, messages.unpack_entries(writes["totals"][period.value])


def to_documents(writes: Writes, entries: Mapping[Period, Sequence[Entry]], now: datetime) -> ByPeriod:
    """Return the documents of the entries; readings have the time of their answer, totals have ``now``."""
    # The time of the answer decides between two answers for the same reading, so it must not be the time of writing.
    inputs, answered_at = messages.series_of(writes).inputs, datetime.fromisoformat(writes["facts"]["fetched_at"])
    times = {period: answered_at if period is inputs else now for period in entries}
    return {
        period: [to_document(writes["account_id"], period, entry, times[period]) for entry in entries_of_period]
        for period, entries_of_period in entries.items()
    }


def split_written(entries: dict[Period, list[Entry]], lost: Mapping[Period, Iterable[Document]]) -> Written:
    """Split the entries by the documents that lost a race and were not written."""
    lost_keys = {period: {key_of(document) for document in documents} for period, documents in lost.items()}
    return Written(
        {period: [entry for entry in rows if entry.key not in lost_keys[period]] for period, rows in entries.items()},
        {period: [entry for entry in rows if entry.key in lost_keys[period]] for period, rows in entries.items()},
    )


def facts_without_answer(now: datetime) -> AnswerFacts:
    """Return the facts of a window whose totals are computed again without a call to the supplier."""
    return AnswerFacts(
        fetched=0,
        asked_at=now.timestamp(),
        fetched_at=to_timestamp(now),
        dropped=0,
        differing=0,
        last_day=None,
        floor=None,
        open=[],
    )


def is_correction(entry: Entry) -> bool:
    """Return whether the entry replaces a stored value by another one."""
    return entry.replaced_milliwatt_hours is not None and entry.replaced_milliwatt_hours != entry.milliwatt_hours


def last_day(readings: Sequence[IntervalReading]) -> str | None:
    """Return the last civil day with a reading, as its key."""
    return max((period_key(reading.start, Period.DAY) for reading in readings), default=None)


def _keys_of_newer_readings(documents: Iterable[Document], fetched_at: str, now: str) -> set[str]:
    """Return the keys of stored readings from a later answer; a message that comes late must not replace them.

    A time in the future comes from a wrong clock, then or now, and does not count.
    """
    # All three are texts of one format in UTC, so they compare as times do.
    return {key_of(document) for document in documents if fetched_at < document["updated_at"] <= now}


def _entries_within(entries: Iterable[Entry], series: Series, window: DateWindow) -> list[Entry]:
    first_key, end_key = key_range(window, series.inputs)
    return [entry for entry in entries if first_key <= entry.key < end_key]


def _add_sums(rest: dict[str, int], added: dict[str, int]) -> dict[str, int]:
    return {key: rest.get(key, 0) + added.get(key, 0) for key in {**rest, **added}}


def _sums_within(sums: dict[str, int], period: Period, window: DateWindow) -> dict[str, int]:
    first_key, end_key = key_range(window, period)
    return {key: energy for key, energy in sums.items() if first_key <= key < end_key}
