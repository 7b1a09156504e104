"""The comparison of an answer with what is stored: which readings are written, which go, and what their totals need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from worker.domain.laws.conservation import DAILY_LIMIT_KWH, beyond
from worker.domain.measures import messages
from worker.domain.measures.aggregation import keep_changed, total_entries
from worker.domain.measures.completeness import civil_day_of, covered_time_by_day, open_days
from worker.domain.measures.documents import (
    ALL_KEYS,
    Document,
    Entry,
    KeyRange,
    key_of,
    key_range,
    shift_key,
    to_entry,
    to_timestamp,
    touched_window,
)
from worker.domain.measures.messages import AnswerFacts, Changes, WindowJob
from worker.domain.measures.overlaps import find_replaced, settle
from worker.domain.measures.recent_answers import Answered, RecentAnswers
from worker.domain.measures.series import Doctype
from worker.domain.measures.states import compare_states

_AN_HOUR: Final = timedelta(hours=1)


def ranges_to_read(job: WindowJob) -> dict[Doctype, KeyRange]:
    """Return the ranges of the touched totals, then those of their readings: the store reads in this order.

    Of a load curve they begin an hour earlier and end an hour later, because a step may reach over midnight. Of states
    and of periods all rows are read, which are few: the neighbours of a day may lie years away.
    """
    series, window = messages.series_of(job), messages.window_of(job)
    if series.is_state or series.has_intervals:
        return {series.inputs: ALL_KEYS}
    windows = {**dict.fromkeys(series.totals, window), series.inputs: touched_window(window, series)}
    ranges = {doctype: key_range(part, doctype) for doctype, part in windows.items()}
    if not series.has_steps:
        return ranges
    return {
        doctype: (shift_key(first, -_AN_HOUR), shift_key(end, _AN_HOUR)) for doctype, (first, end) in ranges.items()
    }


def compare(
    job: WindowJob,
    entries: Sequence[Entry],
    facts: AnswerFacts,
    documents: Mapping[Doctype, Sequence[Document]],
    recent: RecentAnswers,
    now: datetime,
    daily_limit_kwh: float = DAILY_LIMIT_KWH,
) -> Changes:
    """Return the entries that the store lacks or has with another value, and what their totals need.

    ``documents``: what is stored in ``ranges_to_read``. ``recent``: read before them. ``daily_limit_kwh``: stored daily
    values above it go (rule K7).
    """
    series, window, ranges = messages.series_of(job), messages.window_of(job), ranges_to_read(job)
    inputs = documents[series.inputs]
    stored = {entry.key: entry for entry in map(to_entry, inputs)}
    later_keys = _later_keys(job, inputs, facts, recent, now)
    if series.is_state:
        # A later answer that repeated the row before it has no row of its own.
        listed = recent.days_listed_later(Answered.of(job, facts), _to_us(now))
        return _compare_states(job, entries, facts, stored, recent, later_keys | {str(day) for day in listed})
    out_of_order = find_replaced(inputs) if series.has_steps or series.has_intervals else []
    out_of_order_keys = {entry.key for entry in out_of_order}
    in_order = [entry for key, entry in stored.items() if key not in out_of_order_keys]
    settled = settle(entries, in_order, later_keys)
    changed = list(keep_changed(settled.entries, stored))
    held_keys = {entry.key for entry in settled.entries}
    first_key, end_key = key_range(window, series.inputs)
    # What no meter can deliver is no reading, although it was stored once.
    impossible = beyond(in_order, daily_limit_kwh) if series.has_daily_limit else {}
    unreal = [entry for entry in in_order if entry.key in impossible and first_key <= entry.key < end_key]
    replaced = [entry for entry in (*out_of_order, *settled.replaced, *unreal) if entry.key not in held_keys]
    gone_keys = {entry.key for entry in (*changed, *replaced)}
    rest = [entry for key, entry in stored.items() if key not in gone_keys]
    # A stored period that begins before the window may cover days of it.
    stays = rest if series.has_intervals else [entry for entry in rest if first_key <= entry.key < end_key]
    asked_for = [*changed, *stays]
    return Changes(
        **messages.job_of(job),
        changed=changed,
        unchanged=len(settled.entries) - len(changed),
        replaced=replaced,
        reshaped=sorted(settled.reshaped),
        answer=[entry.reading for entry in entries] if settled.reshaped else [],
        left_out=settled.left_out,
        seen=str(recent),
        late_days=sorted({civil_day_of(entry.key, series).isoformat() for entry in settled.late}),
        stored_totals={doctype.value: list(map(to_entry, documents[doctype])) for doctype in series.totals},
        rest={doctype.value: sums_within(ranges[doctype], rest, doctype) for doctype in series.totals},
        facts={**facts, "open": open_days(window, covered_time_by_day(series, asked_for))},
    )


def _compare_states(
    job: WindowJob,
    entries: Sequence[Entry],
    facts: AnswerFacts,
    stored: Mapping[str, Entry],
    recent: RecentAnswers,
    later_keys: Collection[str],
) -> Changes:
    """Return the changes of a series that tells states (``states``); a day is covered where an answer told it."""
    series = messages.series_of(job)
    changes = compare_states(entries, stored, later_keys)
    return Changes(
        **messages.job_of(job),
        changed=changes.changed,
        unchanged=len(entries) - len(changes.late) - len(changes.changed),
        replaced=changes.gone,
        reshaped=[],
        answer=[],
        left_out=len(changes.late),
        seen=str(recent),
        late_days=sorted(entry.key for entry in changes.late),
        stored_totals={},
        rest={},
        facts={**facts, "open": open_days(messages.window_of(job), covered_time_by_day(series, entries))},
    )


def _later_keys(
    job: WindowJob, documents: Iterable[Document], facts: AnswerFacts, recent: RecentAnswers, now: datetime
) -> set[str]:
    """Return the keys of stored readings that were told or confirmed by an answer that was asked for later."""
    series = messages.series_of(job)
    later_days = recent.days_answered_later(Answered.of(job, facts), _to_us(now))
    # These are texts of one format in UTC, so they compare as times do. A time in the future is a wrong clock's.
    fetched_at, latest = facts["fetched_at"], to_timestamp(now)
    return {
        key
        for document in documents
        if fetched_at < document["updated_at"] <= latest
        or (later_days and civil_day_of(key_of(document), series) in later_days)
        for key in [key_of(document)]
    }


def _to_us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def sums_within(keys: KeyRange, entries: Iterable[Entry], doctype: Doctype) -> dict[str, int]:
    """Return the sums of the entries for the totals that the window touches."""
    first_key, end_key = keys
    return {key: energy for key, energy in total_entries(entries, doctype).items() if first_key <= key < end_key}
